#include "core/checkpoint/model_config.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace engram::checkpoint {
namespace {

using Json = nlohmann::ordered_json;

// Keys that change nothing an encoder computes: provenance, training aids, generation defaults.
const std::set<std::string>& HarmlessKeys() {
  static const std::set<std::string> keys = {
      "_name_or_path", "_attn_implementation_autoset", "_commit_hash", "architectures", "bos_token_id", "eos_token_id", "sep_token_id",
      "cls_token_id", "mask_token_id", "dtype", "torch_dtype", "finetuning_task", "gradient_checkpointing", "id2label", "label2id",
      "language", "name", "num_labels", "problem_type", "return_dict", "tie_word_embeddings", "tie_weights_", "transformers_version",
      "use_cache", "output_past", "directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
      "pooler_size_per_head", "pooler_type", "qa_dropout", "seq_classif_dropout", "classifier_dropout", "output_attentions",
      "output_hidden_states", "model_type", "hidden_dropout", "sinusoidal_pos_embds", "torchscript", "pruned_heads", "attn_implementation"};
  return keys;
}

// One family's spelling of the numbers that matter.
struct Spelling {
  const char *hidden_size, *layers, *heads, *intermediate_size, *act, *hidden_dropout, *attention_dropout, *classifier_dropout;
};
constexpr Spelling kBertSpelling = {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
                                    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"};
constexpr Spelling kDistilSpelling = {"dim", "n_layers", "n_heads", "hidden_dim", "activation", "dropout", "attention_dropout", "seq_classif_dropout"};

class Reader {
 public:
  explicit Reader(const Json& json) : json_(json) {}

  absl::Status Integer(const char* key, int64_t low, int64_t high, std::optional<int64_t> absent, int64_t& out) {
    used_.insert(key);
    if (!json_.contains(key) || json_[key].is_null()) {
      if (!absent) return InvalidField(key, "is missing from config.json");
      out = *absent;
      return absl::OkStatus();
    }
    if (!json_[key].is_number_integer()) return InvalidField(key, "must be an integer in config.json");
    out = json_[key].get<int64_t>();
    if (out < low || out > high) return InvalidField(key, absl::StrCat("is ", out, " in config.json; it must lie in [", low, ", ", high, "]"));
    return absl::OkStatus();
  }

  absl::Status Real(const char* key, double low, double high, double absent, double& out) {
    used_.insert(key);
    if (!json_.contains(key) || json_[key].is_null()) {
      out = absent;
      return absl::OkStatus();
    }
    if (!json_[key].is_number()) return InvalidField(key, "must be a number in config.json");
    out = json_[key].get<double>();
    if (!(out >= low && out <= high)) return InvalidField(key, absl::StrCat("is ", out, " in config.json; it must lie in [", low, ", ", high, "]"));
    return absl::OkStatus();
  }

  // A key that may only have one value (or be absent).
  absl::Status Only(const char* key, const Json& allowed, const char* why) {
    used_.insert(key);
    if (!json_.contains(key) || json_[key].is_null() || json_[key] == allowed) return absl::OkStatus();
    return InvalidField(key, absl::StrCat("is ", json_[key].dump(), " in config.json: ", why));
  }

  absl::Status RefuseUnknown() const {
    for (const auto& [key, value] : json_.items()) {
      if (!used_.contains(key) && !HarmlessKeys().contains(key)) {
        return InvalidField(key, "config.json has this key, which Engram does not know; remove it if it changes nothing in the encoder");
      }
    }
    return absl::OkStatus();
  }

  void Use(const char* key) { used_.insert(key); }

 private:
  const Json& json_;
  std::set<std::string> used_;
};

absl::Status ReadFamily(const Json& json, ModelConfig& config) {
  if (!json.contains("model_type") || !json["model_type"].is_string()) {
    return InvalidField("model_type", "is missing from config.json; Engram reads bert, roberta, xlm-roberta and distilbert");
  }
  config.model_type = json["model_type"].get<std::string>();
  if (config.model_type == "bert") {
    config.family = ModelFamily::kBert;
  } else if (config.model_type == "roberta" || config.model_type == "xlm-roberta") {
    config.family = ModelFamily::kRoberta;
  } else if (config.model_type == "distilbert") {
    config.family = ModelFamily::kDistilBert;
  } else {
    return InvalidField("model_type", absl::StrCat("is \"", config.model_type, "\"; Engram reads bert, roberta, xlm-roberta and distilbert"));
  }
  return absl::OkStatus();
}

absl::Status ReadNumbers(const Json& json, Reader& reader, ModelConfig& config) {
  const bool distil = config.family == ModelFamily::kDistilBert;
  const Spelling& spelling = distil ? kDistilSpelling : kBertSpelling;
  ENGRAM_RETURN_IF_ERROR(reader.Integer("vocab_size", 1, kMaxVocabulary, std::nullopt, config.vocab_size));
  ENGRAM_RETURN_IF_ERROR(reader.Integer(spelling.hidden_size, 1, kMaxWidth, std::nullopt, config.hidden_size));
  ENGRAM_RETURN_IF_ERROR(reader.Integer(spelling.layers, 1, kMaxLayers, std::nullopt, config.layers));
  ENGRAM_RETURN_IF_ERROR(reader.Integer(spelling.heads, 1, kMaxWidth, std::nullopt, config.heads));
  ENGRAM_RETURN_IF_ERROR(reader.Integer(spelling.intermediate_size, 1, kMaxWidth, std::nullopt, config.intermediate_size));
  ENGRAM_RETURN_IF_ERROR(reader.Integer("max_position_embeddings", 1, kMaxPositions, 512, config.max_position_embeddings));
  if (!distil) ENGRAM_RETURN_IF_ERROR(reader.Integer("type_vocab_size", 1, 1024, 2, config.type_vocab_size));
  const int64_t default_pad = config.family == ModelFamily::kRoberta ? 1 : 0;
  ENGRAM_RETURN_IF_ERROR(reader.Integer("pad_token_id", 0, kMaxVocabulary, default_pad, config.pad_token_id));
  ENGRAM_RETURN_IF_ERROR(reader.Real("layer_norm_eps", 1e-30, 1.0, 1e-12, config.layer_norm_eps));
  ENGRAM_RETURN_IF_ERROR(reader.Real("initializer_range", 0, 10, 0.02, config.initializer_range));
  ENGRAM_RETURN_IF_ERROR(reader.Real(spelling.hidden_dropout, 0, 0.99, 0.1, config.hidden_dropout));
  ENGRAM_RETURN_IF_ERROR(reader.Real(spelling.attention_dropout, 0, 0.99, 0.1, config.attention_dropout));
  ENGRAM_RETURN_IF_ERROR(
      reader.Real(spelling.classifier_dropout, 0, 0.99, distil ? 0.2 : config.hidden_dropout, config.classifier_dropout));
  reader.Use(spelling.act);
  if (json.contains(spelling.act)) {
    static const std::set<std::string> known = {"gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu"};
    if (!json[spelling.act].is_string() || !known.contains(json[spelling.act].get<std::string>())) {
      return InvalidField(spelling.act, absl::StrCat("is ", json[spelling.act].dump(), "; known: gelu, gelu_new, gelu_pytorch_tanh, relu, silu"));
    }
    config.hidden_act = json[spelling.act].get<std::string>();
  }
  if (config.hidden_size % config.heads != 0) {
    return InvalidField(spelling.heads, absl::StrCat(config.heads, " does not divide ", spelling.hidden_size, " ", config.hidden_size));
  }
  if (config.family == ModelFamily::kRoberta && config.max_position_embeddings <= config.pad_token_id + 1) {
    return InvalidField("max_position_embeddings", "leaves no position after pad_token_id");
  }
  return absl::OkStatus();
}

absl::Status ReadLabels(const Json& json, ModelConfig& config) {
  if (json.contains("id2label") && !json["id2label"].is_null()) {
    const Json& map = json["id2label"];
    if (!map.is_object() || map.size() > static_cast<size_t>(kMaxLabels)) return InvalidField("id2label", "must be an object from class number to name");
    for (size_t id = 0; id < map.size(); ++id) {
      const std::string key = std::to_string(id);
      if (!map.contains(key) || !map[key].is_string()) return InvalidField("id2label", absl::StrCat("has no name for class ", id));
      config.labels.push_back(map[key].get<std::string>());
    }
  }
  if (json.contains("num_labels") && json["num_labels"].is_number_integer() && !config.labels.empty() &&
      json["num_labels"].get<int64_t>() != static_cast<int64_t>(config.labels.size())) {
    return InvalidField("num_labels", absl::StrCat("is ", json["num_labels"].dump(), " but id2label names ", config.labels.size(), " classes"));
  }
  if (!json.contains("label2id") || json["label2id"].is_null()) return absl::OkStatus();
  const Json& inverse = json["label2id"];
  if (!inverse.is_object() || (!config.labels.empty() && inverse.size() != config.labels.size())) {
    return InvalidField("label2id", "does not name the classes that id2label names");
  }
  for (size_t id = 0; id < config.labels.size(); ++id) {
    if (!inverse.contains(config.labels[id]) || inverse[config.labels[id]] != Json(id)) {
      return InvalidField("label2id", absl::StrCat("contradicts id2label on class ", id, " (", config.labels[id], ")"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Json> ParseObject(const std::string& text, const char* field) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object()) return InvalidField(field, "is not a JSON object");
  return json;
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(const std::string& text) {
  ENGRAM_ASSIGN_OR_RETURN(const Json json, ParseObject(text, "config.json"));
  ModelConfig config;
  Reader reader(json);
  ENGRAM_RETURN_IF_ERROR(ReadFamily(json, config));
  ENGRAM_RETURN_IF_ERROR(ReadNumbers(json, reader, config));
  ENGRAM_RETURN_IF_ERROR(reader.Only("position_embedding_type", "absolute", "only absolute positions are implemented"));
  ENGRAM_RETURN_IF_ERROR(reader.Only("is_decoder", false, "decoders are not encoders"));
  ENGRAM_RETURN_IF_ERROR(reader.Only("add_cross_attention", false, "cross-attention is not implemented"));
  ENGRAM_RETURN_IF_ERROR(reader.Only("is_encoder_decoder", false, "only encoders are implemented"));
  ENGRAM_RETURN_IF_ERROR(reader.Only("chunk_size_feed_forward", 0, "chunked feed-forward layers are not implemented"));
  ENGRAM_RETURN_IF_ERROR(ReadLabels(json, config));
  if (json.contains("architectures") && json["architectures"].is_array()) {
    for (const Json& name : json["architectures"]) {
      if (name.is_string()) config.architectures.push_back(name.get<std::string>());
    }
  }
  ENGRAM_RETURN_IF_ERROR(reader.RefuseUnknown());
  return config;
}

absl::StatusOr<std::string> RenderModelConfig(const std::string& original, const std::string& architecture,
                                              const std::vector<std::string>& labels) {
  ENGRAM_ASSIGN_OR_RETURN(Json json, ParseObject(original, "config.json"));
  json["architectures"] = {architecture};
  for (const char* key : {"id2label", "label2id", "problem_type", "num_labels"}) json.erase(key);
  if (!labels.empty()) {
    for (size_t id = 0; id < labels.size(); ++id) {
      json["id2label"][std::to_string(id)] = labels[id];
      json["label2id"][labels[id]] = id;
    }
  }
  return json.dump(2) + "\n";
}

absl::StatusOr<PoolingMode> ParsePoolingConfig(const std::string& text) {
  ENGRAM_ASSIGN_OR_RETURN(const Json json, ParseObject(text, "1_Pooling/config.json"));
  const auto is_set = [&](const char* key) { return json.contains(key) && json[key].is_boolean() && json[key].get<bool>(); };
  const bool mean = is_set("pooling_mode_mean_tokens"), first = is_set("pooling_mode_cls_token");
  for (const auto& [key, value] : json.items()) {
    if (key.starts_with("pooling_mode") && value == Json(true) && key != "pooling_mode_mean_tokens" && key != "pooling_mode_cls_token") {
      return InvalidField(key, "this pooling is not implemented; use mean or cls");
    }
  }
  if (mean && first) return InvalidField("pooling_mode_cls_token", "contradicts pooling_mode_mean_tokens: both are set");
  return mean ? PoolingMode::kMean : first ? PoolingMode::kFirstToken : PoolingMode::kUnspecified;
}

}  // namespace engram::checkpoint
