#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/checkpoint/layer_config.h"

namespace engram::checkpoint {
namespace {

using Json = nlohmann::json;

// One object of rope parameters.
class RopeReader {
 public:
  RopeReader(const Json& json, std::string name) : json_(json), name_(std::move(name)) {}

  absl::Status Read(Rope& rope) {
    ENGRAM_RETURN_IF_ERROR(ReadKind(rope));
    ENGRAM_RETURN_IF_ERROR(CheckKeys(rope.kind));
    double original = static_cast<double>(rope.original_positions);
    std::optional<double> factor;
    for (const auto& [key, out] : {std::pair{"rope_theta", &rope.base},
                                   {"partial_rotary_factor", &rope.partial},
                                   {"beta_fast", &rope.beta_fast},
                                   {"beta_slow", &rope.beta_slow},
                                   {"low_freq_factor", &rope.low_freq_factor},
                                   {"high_freq_factor", &rope.high_freq_factor},
                                   {"mixed_b", &rope.mixed_b},
                                   {"original_max_position_embeddings", &original}}) {
      std::optional<double> value;
      ENGRAM_RETURN_IF_ERROR(Number(key, value));
      if (value) *out = *value;
    }
    for (const auto& [key, out] : {std::pair{"factor", &factor},
                                   {"attention_factor", &rope.attention_factor},
                                   {"mscale", &rope.mscale},
                                   {"mscale_all_dim", &rope.mscale_all_dim}}) {
      ENGRAM_RETURN_IF_ERROR(Number(key, *out));
    }
    ENGRAM_RETURN_IF_ERROR(Boolean("truncate", rope.truncate));
    ENGRAM_RETURN_IF_ERROR(Boolean("finetuned", rope.finetuned));
    ENGRAM_RETURN_IF_ERROR(List("short_factor", rope.short_factor));
    ENGRAM_RETURN_IF_ERROR(List("long_factor", rope.long_factor));
    if (!(original >= 0 && original <= 1e9 && original == std::floor(original)))
      return Wrong("original_max_position_embeddings", "must be a number of tokens");
    rope.original_positions = static_cast<int64_t>(original);
    return SetFactor(factor, rope);
  }

 private:
  const Json* Find(const char* key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }
  absl::Status Wrong(const char* key, std::string_view what) const {
    return InvalidField(absl::StrCat(name_, ".", key), what);
  }

  absl::Status ReadKind(Rope& rope) const {
    const Json *type = Find("rope_type"), *old = Find("type");
    if (type != nullptr && old != nullptr && *type != *old)
      return Wrong("type", absl::StrCat("is ", ConfigReader::Shown(*old), " and contradicts rope_type ",
                                        ConfigReader::Shown(*type)));
    if (type == nullptr) type = old;
    if (type == nullptr) return absl::OkStatus();
    const std::optional<RopeKind> kind = type->is_string() ? ParseRopeKind(type->get<std::string>()) : std::nullopt;
    if (!kind) return Wrong("rope_type", absl::StrCat("is ", ConfigReader::Shown(*type), ", which is not implemented"));
    rope.kind = *kind;
    if (rope.kind == RopeKind::kNtk && Find("mixed_b") != nullptr) rope.kind = RopeKind::kNtkMixed;
    return absl::OkStatus();
  }

  // Every key must be one that this kind reads.
  absl::Status CheckKeys(RopeKind kind) const {
    std::vector<std::string_view> known = {"type", "rope_type", "rope_theta", "partial_rotary_factor"};
    const auto also = [&](std::initializer_list<std::string_view> keys) { known.insert(known.end(), keys); };
    if (kind != RopeKind::kDefault) also({"factor"});
    switch (kind) {
      case RopeKind::kYarn:
      case RopeKind::kDynamicYarn:
        also({"original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow", "mscale",
              "mscale_all_dim", "truncate", "finetuned"});
        break;
      case RopeKind::kLongRope:
        also({"original_max_position_embeddings", "attention_factor", "short_factor", "long_factor"});
        break;
      case RopeKind::kLlama3:
        also({"original_max_position_embeddings", "low_freq_factor", "high_freq_factor"});
        break;
      case RopeKind::kDynamic:
        also({"original_max_position_embeddings"});
        break;
      case RopeKind::kNtk:
      case RopeKind::kNtkMixed:
        also({"mixed_b"});
        break;
      default:
        break;
    }
    for (const auto& [key, value] : json_.items()) {
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        return InvalidField(absl::StrCat(name_, ".", Quoted(key)),
                            absl::StrCat("is no parameter of rotary positions of the kind ",
                                         AbslView(RopeKindName(kind)), "; remove it if it changes nothing"));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Number(const char* key, std::optional<double>& out) const {
    const Json* value = Find(key);
    if (value == nullptr) return absl::OkStatus();
    if (!value->is_number())
      return Wrong(key, absl::StrCat("is ", ConfigReader::Shown(*value), "; it must be a number"));
    out = value->get<double>();
    return absl::OkStatus();
  }
  absl::Status Boolean(const char* key, bool& out) const {
    const Json* value = Find(key);
    if (value == nullptr) return absl::OkStatus();
    if (!value->is_boolean())
      return Wrong(key, absl::StrCat("is ", ConfigReader::Shown(*value), "; it must be true or false"));
    out = value->get<bool>();
    return absl::OkStatus();
  }
  absl::Status List(const char* key, std::vector<double>& out) const {
    const Json* value = Find(key);
    if (value == nullptr) return absl::OkStatus();
    if (!value->is_array() || value->size() > static_cast<size_t>(kMaxWidth) ||
        !std::all_of(value->begin(), value->end(), [](const Json& entry) { return entry.is_number(); })) {
      return Wrong(key, "must be a list of numbers");
    }
    out = value->get<std::vector<double>>();
    return absl::OkStatus();
  }

  absl::Status SetFactor(const std::optional<double>& factor, Rope& rope) const {
    const bool has_default = rope.kind == RopeKind::kDefault || rope.kind == RopeKind::kDynamicYarn ||
                             rope.kind == RopeKind::kProportional || rope.kind == RopeKind::kLongRope;
    if (!factor && !has_default) return Wrong("factor", "is missing");
    if (factor) {
      rope.factor = *factor;
    } else if (rope.kind == RopeKind::kLongRope && rope.original_positions > 0) {
      rope.factor =
          std::max(1.0, static_cast<double>(rope.max_positions) / static_cast<double>(rope.original_positions));
    }
    return absl::OkStatus();
  }

  const Json& json_;
  const std::string name_;
};

absl::Status AddRope(const Json* json, const std::string& name, Rope rope, ModelConfig& config) {
  if (json != nullptr) {
    if (!json->is_object()) return InvalidField(name, "must be an object in config.json");
    ENGRAM_RETURN_IF_ERROR(RopeReader(*json, name).Read(rope));
  }
  ENGRAM_RETURN_IF_ERROR(CheckRope(rope));
  config.ropes.push_back(std::move(rope));
  return absl::OkStatus();
}

// Parameters of the layers without and of those with a window.
absl::Status ReadByLayerType(ConfigReader& reader, const Rope& common, ModelConfig& config) {
  const Json *parameters = reader.Find("rope_parameters"), *scaling = reader.Find("rope_scaling");
  if (parameters != nullptr && scaling != nullptr)
    return InvalidField("rope_scaling", "stands beside rope_parameters in config.json; one of them must go");
  if (parameters != nullptr && !parameters->is_object())
    return InvalidField("rope_parameters", "must be an object in config.json");
  if (parameters != nullptr) {
    for (const auto& [key, value] : parameters->items()) {
      if (key != "full_attention" && key != "sliding_attention")
        return InvalidField(absl::StrCat("rope_parameters.", Quoted(key)),
                            "is no type of layer: full_attention and sliding_attention are");
    }
  }
  const RopeSpec& spec = config.family->rope;
  for (const auto& [type, theta, base] : {std::tuple{"full_attention", "global_rope_theta", spec.base},
                                          {"sliding_attention", "local_rope_theta", spec.window_base}}) {
    Rope rope = common;
    ENGRAM_RETURN_IF_ERROR(reader.Real(theta, 1, 1e15, base, rope.base));
    const Json* own = scaling;
    std::string name = "rope_scaling";
    if (parameters != nullptr) {
      const auto found = parameters->find(type);
      own = found == parameters->end() || found->is_null() ? nullptr : &*found;
      name = absl::StrCat("rope_parameters.", type);
    }
    ENGRAM_RETURN_IF_ERROR(AddRope(own, name, std::move(rope), config));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadRopes(ConfigReader& reader, ModelConfig& config) {
  Rope rope;
  rope.head_dim = config.head_width();
  rope.max_positions = config.max_positions;
  ENGRAM_RETURN_IF_ERROR(reader.Real("partial_rotary_factor", 0, 1, 1, rope.partial));
  ENGRAM_RETURN_IF_ERROR(
      reader.Integer("original_max_position_embeddings", 1, kMaxPositions, 0, rope.original_positions));
  if (config.family->rope.window_base > 0) return ReadByLayerType(reader, rope, config);
  ENGRAM_RETURN_IF_ERROR(reader.Real("rope_theta", 1, 1e15, config.family->rope.base, rope.base));
  const Json *parameters = reader.Find("rope_parameters"), *scaling = reader.Find("rope_scaling");
  if (parameters != nullptr && scaling != nullptr && *parameters != *scaling)
    return InvalidField("rope_scaling", "contradicts rope_parameters in config.json");
  return parameters != nullptr ? AddRope(parameters, "rope_parameters", std::move(rope), config)
                               : AddRope(scaling, "rope_scaling", std::move(rope), config);
}

}  // namespace engram::checkpoint
