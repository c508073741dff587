#include "core/checkpoint/layer_config.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace engram::checkpoint {
namespace {

using Json = nlohmann::json;

absl::Status ReadHeads(ConfigReader& reader, ModelConfig& config) {
  const ConfigKeys& keys = config.family->keys;
  if (keys.head_dim != nullptr) {
    ENGRAM_RETURN_IF_ERROR(reader.Integer(keys.head_dim, 1, kMaxWidth, 0, config.head_dim));
    if (config.head_dim > kMaxWidth / config.heads)
      return InvalidField(keys.head_dim, absl::StrCat("times ", keys.heads, " is more than ", kMaxWidth));
  }
  if (config.head_dim == 0 && config.hidden_size % config.heads != 0) {
    return InvalidField(keys.heads,
                        absl::StrCat(config.heads, " does not divide ", keys.hidden_size, " ", config.hidden_size));
  }
  if (keys.kv_heads == nullptr) return absl::OkStatus();
  ENGRAM_RETURN_IF_ERROR(reader.Integer(keys.kv_heads, 1, config.heads, config.heads, config.kv_heads));
  if (config.heads % config.kv_heads != 0)
    return InvalidField(keys.kv_heads,
                        absl::StrCat(config.kv_heads, " does not divide ", keys.heads, " ", config.heads));
  return absl::OkStatus();
}

absl::Status ReadBiases(ConfigReader& reader, ModelConfig& config) {
  const ConfigKeys& keys = config.family->keys;
  const BiasSpec& biases = config.family->biases;
  config.attention_input_bias = biases.attention_input;
  config.attention_output_bias = biases.attention_output;
  config.feed_forward_bias = biases.feed_forward;
  config.norm_bias = biases.norm;
  config.head_bias = biases.head;
  if (keys.attention_bias != nullptr) {
    ENGRAM_RETURN_IF_ERROR(reader.Boolean(keys.attention_bias, biases.attention_input, config.attention_input_bias));
    config.attention_output_bias = config.attention_input_bias;
  }
  for (const auto& [key, bias] : {std::pair{keys.feed_forward_bias, &config.feed_forward_bias},
                                  {keys.norm_bias, &config.norm_bias},
                                  {keys.head_bias, &config.head_bias}}) {
    if (key != nullptr) ENGRAM_RETURN_IF_ERROR(reader.Boolean(key, *bias, *bias));
  }
  return absl::OkStatus();
}

// Whether each layer has a window, as config.json's layer_types or the family's rule says.
absl::Status ReadWindowed(ConfigReader& reader, const ModelConfig& config, std::vector<bool>& windowed) {
  const WindowSpec& spec = config.family->window;
  int64_t number = spec.rule_default;
  if (spec.rule_key != nullptr)
    ENGRAM_RETURN_IF_ERROR(reader.Integer(spec.rule_key, 1, kMaxPositions, spec.rule_default, number));
  for (int64_t l = 0; l < config.layers; ++l) {
    windowed.push_back(spec.rule == WindowRule::kAll || (spec.rule == WindowRule::kAllButEveryNth && l % number != 0) ||
                       (spec.rule == WindowRule::kFromLayer && l >= number));
  }
  const Json* types = reader.Find("layer_types");
  if (types == nullptr) return absl::OkStatus();
  if (!types->is_array() || static_cast<int64_t>(types->size()) != config.layers) {
    return InvalidField("layer_types",
                        absl::StrCat("must be a list of ", config.layers, " types in config.json, one for each layer"));
  }
  for (size_t l = 0; l < types->size(); ++l) {
    const Json& type = (*types)[l];
    if (type != "full_attention" && type != "sliding_attention") {
      return InvalidField(
          "layer_types", absl::StrCat("has ", ConfigReader::Shown(type), "; known: full_attention, sliding_attention"));
    }
    windowed[l] = type == "sliding_attention";
  }
  return absl::OkStatus();
}

absl::Status ReadWindows(ConfigReader& reader, ModelConfig& config) {
  const WindowSpec& spec = config.family->window;
  if (spec.rule == WindowRule::kNone) return absl::OkStatus();
  bool on = true;
  if (spec.switch_key != nullptr) ENGRAM_RETURN_IF_ERROR(reader.Boolean(spec.switch_key, false, on));
  int64_t size = 0;
  if (reader.IsNull(spec.size_key)) on = false;
  ENGRAM_RETURN_IF_ERROR(reader.Integer(spec.size_key, 1, 2 * kMaxPositions, spec.default_size, size));
  std::vector<bool> windowed;
  ENGRAM_RETURN_IF_ERROR(ReadWindowed(reader, config, windowed));
  const bool listed = reader.Find("layer_types") != nullptr;
  bool any = false;
  for (size_t l = 0; l < windowed.size(); ++l) any = any || windowed[l];
  if (!any) return absl::OkStatus();
  if (!on && listed)
    return InvalidField("layer_types",
                        absl::StrCat("names sliding_attention, but there is no window: see ", spec.size_key));
  if (!on) return absl::OkStatus();
  // With causal attention the token itself counts.
  const int64_t distance = config.family->block.causal ? size - 1 : size / 2;
  for (const bool window : windowed) config.windows.push_back(window ? distance : -1);
  return absl::OkStatus();
}

absl::Status ReadSequenceRows(ConfigReader& reader, ModelConfig& config) {
  config.sequence_rows = config.family->sequence_rows;
  const char* const key = config.family->keys.classifier_pooling;
  const Json* pooling = key != nullptr ? reader.Find(key) : nullptr;
  if (pooling == nullptr) return absl::OkStatus();
  if (*pooling != "cls" && *pooling != "mean")
    return InvalidField(key, absl::StrCat("is ", ConfigReader::Shown(*pooling), " in config.json; known: cls, mean"));
  config.sequence_rows = *pooling == "mean" ? SequenceRows::kMean : SequenceRows::kFirst;
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadLayers(ConfigReader& reader, ModelConfig& config) {
  ENGRAM_RETURN_IF_ERROR(ReadHeads(reader, config));
  ENGRAM_RETURN_IF_ERROR(ReadBiases(reader, config));
  ENGRAM_RETURN_IF_ERROR(ReadWindows(reader, config));
  ENGRAM_RETURN_IF_ERROR(ReadSequenceRows(reader, config));
  return config.family->rotary() ? ReadRopes(reader, config) : absl::OkStatus();
}

}  // namespace engram::checkpoint
