#include "core/nn/position_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/nn/encoder_config.h"
#include "core/nn/layers/positions.h"
#include "core/nn/position_extension.h"

namespace engram::nn {
namespace {

constexpr std::pair<PositionMode, std::string_view> kNames[] = {{PositionMode::kTrained, "trained"},
                                                                {PositionMode::kHierarchical, "hierarchical"},
                                                                {PositionMode::kGrouped, "grouped"},
                                                                {PositionMode::kTiled, "tiled"},
                                                                {PositionMode::kInterpolated, "interpolated"},
                                                                {PositionMode::kLinear, "linear"},
                                                                {PositionMode::kNtkAware, "ntk_aware"},
                                                                {PositionMode::kDynamic, "dynamic"},
                                                                {PositionMode::kYarn, "yarn"},
                                                                {PositionMode::kDynamicYarn, "dynamic_yarn"}};

constexpr double kLargestFactor = 65'536;

bool TakesFactor(PositionMode mode) {
  return mode == PositionMode::kLinear || mode == PositionMode::kNtkAware || mode == PositionMode::kDynamic ||
         mode == PositionMode::kYarn;
}

}  // namespace

std::string_view PositionModeName(PositionMode mode) {
  for (const auto& [known, name] : kNames) {
    if (known == mode) return name;
  }
  return {};
}

std::optional<PositionMode> ParsePositionMode(std::string_view name) {
  for (const auto& [mode, known] : kNames) {
    if (known == name) return mode;
  }
  return std::nullopt;
}

int64_t LongestWith(const EncoderConfig& config, const PositionPlan& plan) {
  if (config.family->rotary()) return std::numeric_limits<int32_t>::max();
  const auto extension = ExtensionOf(plan.mode);
  return extension ? LongestExtended(*extension, config.max_length()) : config.max_length();
}

absl::Status CheckPositions(const EncoderConfig& config, const PositionPlan& plan, int64_t length) {
  const std::string name(PositionModeName(plan.mode));
  const bool rotary = config.family->rotary();
  if (plan.mode != PositionMode::kTrained && ExtensionOf(plan.mode).has_value() == rotary) {
    return InvalidField("positions", absl::StrCat(name, " is for models with ",
                                                  rotary ? "a table of positions; this model's are rotary"
                                                         : "rotary positions; this model has a table of them"));
  }
  if (plan.factor != 0 && !TakesFactor(plan.mode))
    return InvalidField("factor", absl::StrCat("cannot be chosen with positions ", name));
  if (plan.factor != 0 && !(plan.factor >= 1 && plan.factor <= kLargestFactor))
    return InvalidField("factor", absl::StrCat("must be from 1 to ", kLargestFactor, ", or 0"));
  if (const int64_t longest = LongestWith(config, plan); length < 1 || length > longest) {
    return InvalidField("length",
                        absl::StrCat("is ", length, " tokens; positions ", name, " reach from 1 to ", longest));
  }
  return rotary ? checkpoint::CheckRope(RopeWith(config.ropes.front(), plan, length)) : absl::OkStatus();
}

double PositionFactor(const EncoderConfig& config, const PositionPlan& plan, int64_t length) {
  if (const auto extension = ExtensionOf(plan.mode)) return PositionFactor(*extension, config.max_length(), length);
  if (plan.mode == PositionMode::kTrained && !config.family->rotary()) return 1;
  const checkpoint::Rope rope = RopeWith(config.ropes.front(), plan, length);
  const auto tokens = static_cast<double>(length), known = static_cast<double>(rope.max_positions),
             original = static_cast<double>(rope.original_positions);
  switch (rope.kind) {
    case checkpoint::RopeKind::kDynamic:
      return rope.factor * std::max(tokens / known, 1.0) - (rope.factor - 1);
    case checkpoint::RopeKind::kDynamicYarn:
      return tokens > known ? tokens / original : rope.finetuned ? known / original : 1;
    default:
      return rope.factor;
  }
}

}  // namespace engram::nn
