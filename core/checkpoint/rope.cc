#include "core/checkpoint/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "absl/strings/str_cat.h"

namespace engram::checkpoint {
namespace {

constexpr std::pair<RopeKind, std::string_view> kNames[] = {{RopeKind::kDefault, "default"},
                                                            {RopeKind::kLinear, "linear"},
                                                            {RopeKind::kNtkAware, "ntk_aware"},
                                                            {RopeKind::kNtk, "ntk"},
                                                            {RopeKind::kNtkMixed, "ntk_mixed"},
                                                            {RopeKind::kDynamic, "dynamic"},
                                                            {RopeKind::kYarn, "yarn"},
                                                            {RopeKind::kDynamicYarn, "dynamic_yarn"},
                                                            {RopeKind::kLongRope, "longrope"},
                                                            {RopeKind::kLlama3, "llama3"},
                                                            {RopeKind::kProportional, "proportional"}};

// base^(-2i/d) for i = 0 ... d/2 - 1.
std::vector<double> Geometric(double base, int64_t d) {
  std::vector<double> angles(static_cast<size_t>(d / 2));
  for (size_t i = 0; i < angles.size(); ++i)
    angles[i] = std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(d));
  return angles;
}

double LogScale(double factor, double k) { return factor > 1 ? 0.1 * k * std::log(factor) + 1 : 1; }

double YarnAttentionFactor(const Rope& rope, double factor) {
  if (rope.attention_factor) return *rope.attention_factor;
  if (rope.mscale.value_or(0) != 0 && rope.mscale_all_dim.value_or(0) != 0)
    return LogScale(factor, *rope.mscale) / LogScale(factor, *rope.mscale_all_dim);
  return LogScale(factor, 1);
}

RopeFrequencies Yarn(const Rope& rope, double factor) {
  const int64_t d = rope.width();
  // The dimension whose pair turns that often in L0 tokens.
  const auto dimension = [&](double turns) {
    return static_cast<double>(d) *
           std::log(static_cast<double>(rope.original_positions) / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(rope.base));
  };
  double low = dimension(rope.beta_fast), high = dimension(rope.beta_slow);
  if (rope.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(d - 1));
  if (low == high) high += 0.001;
  RopeFrequencies out{Geometric(rope.base, d), YarnAttentionFactor(rope, factor)};
  for (size_t i = 0; i < out.angles.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    out.angles[i] = out.angles[i] / factor * ramp + out.angles[i] * (1 - ramp);
  }
  return out;
}

double DynamicYarnFactor(const Rope& rope, int64_t length) {
  const auto original = static_cast<double>(rope.original_positions);
  if (length > rope.max_positions) return static_cast<double>(length) / original;
  return rope.finetuned ? static_cast<double>(rope.max_positions) / original : 1;
}

RopeFrequencies LongRope(const Rope& rope, int64_t length) {
  RopeFrequencies out{Geometric(rope.base, rope.width())};
  const std::vector<double>& factors = length <= rope.original_positions ? rope.short_factor : rope.long_factor;
  for (size_t i = 0; i < out.angles.size(); ++i) out.angles[i] /= factors[i];
  if (rope.attention_factor) {
    out.attention_factor = *rope.attention_factor;
  } else if (rope.factor > 1) {
    out.attention_factor =
        std::sqrt(1 + std::log(rope.factor) / std::log(static_cast<double>(rope.original_positions)));
  }
  return out;
}

RopeFrequencies Llama3(const Rope& rope) {
  RopeFrequencies out{Geometric(rope.base, rope.width())};
  const auto original = static_cast<double>(rope.original_positions);
  for (double& angle : out.angles) {
    const double turns = original * angle / (2 * std::numbers::pi);  // L0 / lambda
    if (turns > rope.high_freq_factor) continue;
    if (turns < rope.low_freq_factor) {
      angle /= rope.factor;
      continue;
    }
    const double kept = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
    angle = (1 - kept) * angle / rope.factor + kept * angle;
  }
  return out;
}

RopeFrequencies Proportional(const Rope& rope) {
  RopeFrequencies out{Geometric(rope.base, rope.head_dim)};
  const auto turning = static_cast<size_t>(rope.partial * static_cast<double>(rope.head_dim) / 2);
  for (size_t i = 0; i < out.angles.size(); ++i) out.angles[i] = i < turning ? out.angles[i] / rope.factor : 0;
  return out;
}

// b f^(d/(d-2)): the slowest pair is slowed by f, the fastest not at all.
double StretchedBase(double base, double factor, int64_t d) {
  return base * std::pow(factor, static_cast<double>(d) / static_cast<double>(d - 2));
}

std::vector<double> Mixed(const Rope& rope) {
  std::vector<double> angles = Geometric(rope.base, rope.width());
  const double slope = std::log(rope.factor) / std::pow(static_cast<double>(angles.size()), rope.mixed_b);
  for (size_t i = 0; i < angles.size(); ++i)
    angles[i] /= std::exp(slope * std::pow(static_cast<double>(i + 1), rope.mixed_b));
  return angles;
}

absl::Status CheckLists(const Rope& rope) {
  for (const auto& [key, list] :
       {std::pair{"short_factor", &rope.short_factor}, std::pair{"long_factor", &rope.long_factor}}) {
    if (static_cast<int64_t>(list->size()) != rope.width() / 2)
      return InvalidField(key, absl::StrCat("has ", list->size(), " numbers; a head has ", rope.width() / 2,
                                            " pairs of rotated dimensions"));
    if (!std::all_of(list->begin(), list->end(), [](double f) { return f > 0 && std::isfinite(f); }))
      return InvalidField(key, "must hold positive numbers");
  }
  return absl::OkStatus();
}

bool NeedsOriginal(RopeKind kind) {
  return kind == RopeKind::kYarn || kind == RopeKind::kDynamicYarn || kind == RopeKind::kLongRope ||
         kind == RopeKind::kLlama3;
}

}  // namespace

int64_t Rope::width() const {
  if (kind == RopeKind::kProportional) return head_dim;
  return static_cast<int64_t>(static_cast<double>(head_dim) * partial);
}

std::optional<RopeKind> ParseRopeKind(std::string_view name) {
  if (name == "su") return RopeKind::kLongRope;
  for (const auto& [kind, known] : kNames) {
    if (known == name) return kind;
  }
  return std::nullopt;
}

std::string_view RopeKindName(RopeKind kind) {
  for (const auto& [known, name] : kNames) {
    if (known == kind) return name;
  }
  return "";
}

absl::Status CheckRope(const Rope& rope) {
  if (!(rope.base > 1) || !std::isfinite(rope.base)) return InvalidField("rope_theta", "must be a number above 1");
  if (!(rope.partial > 0 && rope.partial <= 1))
    return InvalidField("partial_rotary_factor", "must be above 0 and at most 1");
  if (rope.width() < 2 || rope.width() % 2 != 0) {
    return InvalidField("head_dim", absl::StrCat("gives ", rope.width(),
                                                 " rotated dimensions a head; rotary positions need an even number"));
  }
  if (!(rope.factor >= 1) || !std::isfinite(rope.factor))
    return InvalidField("factor", "must be a number of at least 1");
  if (rope.max_positions < 1) return InvalidField("max_position_embeddings", "must be positive");
  if (NeedsOriginal(rope.kind) && rope.original_positions < 1) {
    return InvalidField("original_max_position_embeddings",
                        absl::StrCat("is missing: ", AbslView(RopeKindName(rope.kind)), " scales from that length"));
  }
  const bool stretches = rope.kind == RopeKind::kNtkAware || rope.kind == RopeKind::kDynamic;
  if (stretches && rope.width() < 4)
    return InvalidField("head_dim", "has a single rotated pair, which cannot be scaled");
  if (rope.attention_factor && !(*rope.attention_factor > 0 && std::isfinite(*rope.attention_factor)))
    return InvalidField("attention_factor", "must be positive");
  for (const auto& [key, value] :
       {std::pair{"mscale", rope.mscale}, std::pair{"mscale_all_dim", rope.mscale_all_dim}}) {
    if (value && !(*value >= 0 && std::isfinite(*value))) return InvalidField(key, "must not be negative");
  }
  if (!(rope.beta_slow > 0 && rope.beta_fast > rope.beta_slow && std::isfinite(rope.beta_fast)))
    return InvalidField("beta_fast", "must be above beta_slow, which must be positive");
  if (!(rope.low_freq_factor > 0 && rope.high_freq_factor > rope.low_freq_factor))
    return InvalidField("high_freq_factor", "must be above low_freq_factor, which must be positive");
  if (rope.kind == RopeKind::kNtkMixed && !(rope.mixed_b > 0 && rope.mixed_b <= 10))
    return InvalidField("mixed_b", "must be above 0 and at most 10");
  if (rope.kind != RopeKind::kLongRope) return absl::OkStatus();
  if (!rope.attention_factor && rope.original_positions < 2)
    return InvalidField("original_max_position_embeddings", "must be at least 2");
  return CheckLists(rope);
}

bool DependsOnLength(const Rope& rope) {
  return rope.kind == RopeKind::kDynamic || rope.kind == RopeKind::kDynamicYarn || rope.kind == RopeKind::kLongRope;
}

RopeFrequencies FrequenciesOf(const Rope& rope, int64_t length) {
  const int64_t d = rope.width();
  const auto scaled = [](std::vector<double> angles, double factor) {
    for (double& angle : angles) angle /= factor;
    return RopeFrequencies{std::move(angles)};
  };
  switch (rope.kind) {
    case RopeKind::kDefault:
      break;
    case RopeKind::kLinear:
      return scaled(Geometric(rope.base, d), rope.factor);
    case RopeKind::kNtkAware:
      return {Geometric(StretchedBase(rope.base, rope.factor, d), d)};
    case RopeKind::kNtk:
      return scaled(Geometric(rope.base * rope.factor, d), std::pow(rope.factor, 2.0 / static_cast<double>(d)));
    case RopeKind::kNtkMixed:
      return {Mixed(rope)};
    case RopeKind::kDynamic: {
      const auto known = static_cast<double>(rope.max_positions);
      const double length_factor = std::max(static_cast<double>(length), known) / known;
      return {Geometric(StretchedBase(rope.base, rope.factor * length_factor - (rope.factor - 1), d), d)};
    }
    case RopeKind::kYarn:
      return Yarn(rope, rope.factor);
    case RopeKind::kDynamicYarn:
      return Yarn(rope, std::max(DynamicYarnFactor(rope, length), 1.0));
    case RopeKind::kLongRope:
      return LongRope(rope, length);
    case RopeKind::kLlama3:
      return Llama3(rope);
    case RopeKind::kProportional:
      return Proportional(rope);
  }
  return {Geometric(rope.base, d)};
}

void FillRopeRows(const RopeFrequencies& frequencies, int64_t first, int64_t count, float* out) {
  const size_t pairs = frequencies.angles.size();
  for (int64_t row = 0; row < count; ++row, out += 2 * pairs) {
    const auto position = static_cast<double>(first + row);
    for (size_t i = 0; i < pairs; ++i) {
      const double phase = position * frequencies.angles[i];
      out[i] = static_cast<float>(frequencies.attention_factor * std::cos(phase));
      out[pairs + i] = static_cast<float>(frequencies.attention_factor * std::sin(phase));
    }
  }
}

}  // namespace engram::checkpoint
