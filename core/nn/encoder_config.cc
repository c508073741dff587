#include "core/nn/encoder_config.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace engram::nn {

absl::Status CheckEncoderConfig(const EncoderConfig& config) {
  if (config.family == nullptr) return InvalidField("model_type", "is not set");
  for (const auto& [name, value] : {std::pair{"vocab_size", config.vocab_size},
                                    {"hidden_size", config.hidden_size},
                                    {"num_hidden_layers", config.layers},
                                    {"num_attention_heads", config.heads},
                                    {"intermediate_size", config.intermediate_size},
                                    {"max_position_embeddings", config.max_length()}}) {
    if (value <= 0) return InvalidField(name, absl::StrCat("must be positive, is ", value));
  }
  const bool types = config.family->names.type_embeddings != nullptr;
  if (types != (config.type_vocab_size > 0))
    return InvalidField("type_vocab_size", absl::StrCat("is ", config.type_vocab_size, " in a family ",
                                                        types ? "with" : "without", " token types"));
  if (config.head_dim == 0 && config.hidden_size % config.heads != 0) {
    return InvalidField("num_attention_heads",
                        absl::StrCat(config.heads, " does not divide hidden_size ", config.hidden_size));
  }
  if (config.heads % config.key_heads() != 0) {
    return InvalidField("num_key_value_heads",
                        absl::StrCat(config.kv_heads, " does not divide num_attention_heads ", config.heads));
  }
  if (config.family->rotary() && config.ropes.empty()) return InvalidField("rope_parameters", "are not set");
  for (const checkpoint::Rope& rope : config.ropes) ENGRAM_RETURN_IF_ERROR(checkpoint::CheckRope(rope));
  if (!config.windows.empty() && static_cast<int64_t>(config.windows.size()) != config.layers)
    return InvalidField("layer_types", "must name each layer");
  if (config.has_pooler && config.family->names.pooler == nullptr)
    return InvalidField("model_type", "names a family without a pooler");
  return absl::OkStatus();
}

absl::StatusOr<Activation> ParseActivation(std::string_view name) {
  for (const auto& [known, activation] : {std::pair<std::string_view, Activation>{"gelu", Activation::kGelu},
                                          {"gelu_new", Activation::kGeluTanh},
                                          {"gelu_pytorch_tanh", Activation::kGeluTanh},
                                          {"relu", Activation::kRelu},
                                          {"silu", Activation::kSilu},
                                          {"tanh", Activation::kTanh}}) {
    if (known == name) return activation;
  }
  return InvalidField("hidden_act", absl::StrCat("\"", AbslView(name), "\" is not known"));
}

}  // namespace engram::nn
