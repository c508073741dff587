#include "core/checkpoint/model_config.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/strict_json.h"
#include "core/checkpoint/config_reader.h"
#include "core/checkpoint/layer_config.h"

namespace engram::checkpoint {
namespace {

using Json = nlohmann::json;

absl::Status ReadFamily(ConfigReader& reader, ModelConfig& config) {
  const Json* type = reader.Find("model_type");
  if (type != nullptr && type->is_string()) config.family = FindFamily(type->get<std::string>());
  if (config.family != nullptr) return absl::OkStatus();
  return InvalidField("model_type", absl::StrCat(type == nullptr ? "is missing from config.json"
                                                                 : absl::StrCat("is ", ConfigReader::Shown(*type)),
                                                 "; Engram reads ", absl::StrJoin(KnownModelTypes(), ", ")));
}

absl::Status ReadSizes(ConfigReader& reader, ModelConfig& config) {
  const ConfigKeys& keys = config.family->keys;
  ENGRAM_RETURN_IF_ERROR(reader.Integer("vocab_size", 1, kMaxVocabulary, std::nullopt, config.vocab_size));
  ENGRAM_RETURN_IF_ERROR(reader.Integer(keys.hidden_size, 1, kMaxWidth, std::nullopt, config.hidden_size));
  ENGRAM_RETURN_IF_ERROR(reader.Integer(keys.layers, 1, kMaxLayers, std::nullopt, config.layers));
  ENGRAM_RETURN_IF_ERROR(reader.Integer(keys.heads, 1, kMaxWidth, std::nullopt, config.heads));
  ENGRAM_RETURN_IF_ERROR(reader.Integer(keys.intermediate_size, 1, kMaxWidth, std::nullopt, config.intermediate_size));
  ENGRAM_RETURN_IF_ERROR(
      reader.Integer("max_position_embeddings", 1, kMaxPositions, std::nullopt, config.max_positions));
  if (config.family->names.type_embeddings != nullptr)
    ENGRAM_RETURN_IF_ERROR(reader.Integer("type_vocab_size", 1, 1024, 2, config.type_vocab_size));
  ENGRAM_RETURN_IF_ERROR(
      reader.Integer("pad_token_id", 0, kMaxVocabulary, config.family->default_pad_token_id, config.pad_token_id));
  ENGRAM_RETURN_IF_ERROR(reader.SameAs("hidden_size", keys.hidden_size, config.hidden_size));
  // ELECTRA's word vectors may be narrower, and configs that were made from its have the key.
  ENGRAM_RETURN_IF_ERROR(reader.SameAs("embedding_size", keys.hidden_size, config.hidden_size));
  ENGRAM_RETURN_IF_ERROR(reader.SameAs("num_hidden_layers", keys.layers, config.layers));
  ENGRAM_RETURN_IF_ERROR(reader.SameAs("num_attention_heads", keys.heads, config.heads));
  if (config.pad_token_id >= config.vocab_size) {
    return InvalidField("pad_token_id",
                        absl::StrCat("is ", config.pad_token_id, ", outside of a vocabulary of ", config.vocab_size));
  }
  if (config.max_length() < 1) {
    return InvalidField("max_position_embeddings", "leaves no position after pad_token_id");
  }
  return absl::OkStatus();
}

absl::Status ReadNumbers(ConfigReader& reader, ModelConfig& config) {
  const ConfigKeys& keys = config.family->keys;
  ENGRAM_RETURN_IF_ERROR(ReadSizes(reader, config));
  ENGRAM_RETURN_IF_ERROR(ReadLayers(reader, config));
  const FamilySpec& family = *config.family;
  ENGRAM_RETURN_IF_ERROR(reader.Real(keys.norm_eps, 1e-30, 1.0, family.default_norm_eps, config.layer_norm_eps));
  ENGRAM_RETURN_IF_ERROR(reader.Real("initializer_range", 0, 10, 0.02, config.initializer_range));
  config.hidden_dropout = 0;
  if (keys.hidden_dropout != nullptr)
    ENGRAM_RETURN_IF_ERROR(reader.Real(keys.hidden_dropout, 0, 0.99, family.default_dropout, config.hidden_dropout));
  ENGRAM_RETURN_IF_ERROR(
      reader.Real(keys.attention_dropout, 0, 0.99, family.default_dropout, config.attention_dropout));
  ENGRAM_RETURN_IF_ERROR(reader.Real(keys.classifier_dropout, 0, 0.99,
                                     family.default_classifier_dropout.value_or(config.hidden_dropout),
                                     config.classifier_dropout));
  config.hidden_act = family.default_activation;
  const Json* act = reader.Find(keys.activation);
  if (act == nullptr) return absl::OkStatus();
  static const std::set<std::string> known = {"gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu"};
  if (!act->is_string() || !known.contains(act->get<std::string>())) {
    return InvalidField(keys.activation, absl::StrCat("is ", ConfigReader::Shown(*act),
                                                      "; known: gelu, gelu_new, gelu_pytorch_tanh, relu, silu"));
  }
  config.hidden_act = act->get<std::string>();
  return absl::OkStatus();
}

bool NamesClassOf(const ModelConfig& config, TaskKind kind) {
  return std::any_of(config.architectures.begin(), config.architectures.end(),
                     [kind](const std::string& name) { return KindOfClass(name) == kind; });
}

// A model may ask for code of its own. It is never run; where it is known to compute what the family does, it is not
// needed.
absl::Status ReadAutoMap(ConfigReader& reader, ModelConfig& config) {
  const Json* map = reader.Find("auto_map");
  if (map == nullptr) return absl::OkStatus();
  const char* const known = config.family->known_code;
  const bool needless =
      known != nullptr && map->is_object() && std::all_of(map->begin(), map->end(), [known](const Json& value) {
        // "owner/repository--module.Class", or "module.Class".
        if (!value.is_string()) return false;
        const std::string text = value.get<std::string>();
        const size_t end = text.rfind("--");
        const std::string name = end == std::string::npos ? text : text.substr(end + 2);
        return name.starts_with(known) || name.starts_with("configuration_");
      });
  if (!needless) return InvalidField("auto_map", "the model asks for code of its own, which is never run");
  config.warnings.push_back(absl::StrCat(
      "config.json: auto_map asks for code, which is never run: the model is read as ", config.family->model_type));
  return absl::OkStatus();
}

// Older spellings become the one that is read.
absl::Status TranslateOlderKeys(const FamilySpec& family, Json& json) {
  for (const auto& [old, key] : family.older_keys) {
    const auto found = json.find(old);
    if (found == json.end()) continue;
    if (const auto present = json.find(key); present != json.end() && *present != *found) {
      return InvalidField(old, absl::StrCat("is ", ConfigReader::Shown(*found), " and contradicts ", key, " ",
                                            ConfigReader::Shown(*present), " in config.json"));
    }
    Json value = *found;
    json.erase(found);
    json[key] = std::move(value);
  }
  return absl::OkStatus();
}

// Features that would change what the encoder computes and are not implemented.
absl::Status RefuseUnimplemented(ConfigReader& reader, ModelConfig& config) {
  ENGRAM_RETURN_IF_ERROR(reader.Only("position_embedding_type", "absolute", "only absolute positions are implemented"));
  ENGRAM_RETURN_IF_ERROR(reader.Only("is_decoder", false, "decoders are not encoders"));
  ENGRAM_RETURN_IF_ERROR(reader.Only("add_cross_attention", false, "cross-attention is not implemented"));
  ENGRAM_RETURN_IF_ERROR(reader.Only("is_encoder_decoder", false, "only encoders are implemented"));
  if (const Json* pruned = reader.Find("pruned_heads"); pruned != nullptr && !pruned->empty()) {
    return InvalidField("pruned_heads", "names pruned attention heads in config.json; they are not implemented");
  }
  for (const FixedKey& fixed : config.family->fixed_keys)
    ENGRAM_RETURN_IF_ERROR(reader.Only(fixed.key, Json::parse(fixed.value), fixed.why));
  for (const char* key : config.family->harmless_keys) reader.PassOver(key);
  if (reader.Find("quantization_config") != nullptr) {
    return InvalidField("quantization_config", "the weights are quantized; import the original model");
  }
  ENGRAM_RETURN_IF_ERROR(ReadAutoMap(reader, config));
  if (const Json* sinusoidal = reader.Find("sinusoidal_pos_embds");
      sinusoidal != nullptr && !sinusoidal->is_boolean()) {
    return InvalidField("sinusoidal_pos_embds", "must be true or false in config.json");
  }
  // Embedding and decoder are one parameter here; a masked LM that keeps two would lose one.
  const bool masked_lm = NamesClassOf(config, TaskKind::kMaskedLanguageModel);
  const Json* tied = reader.Find("tie_word_embeddings");
  if (masked_lm && tied != nullptr && *tied != Json(true))
    config.head_problem = "tie_word_embeddings: a masked LM whose decoder is not tied to the embedding is not read";
  return absl::OkStatus();
}

absl::Status ReadArchitectures(ConfigReader& reader, ModelConfig& config) {
  const Json* names = reader.Find("architectures");
  if (names == nullptr) return absl::OkStatus();
  if (!names->is_array() || names->size() > 16)
    return InvalidField("architectures", "must be a short list of class names in config.json");
  for (const Json& name : *names) {
    if (!name.is_string()) return InvalidField("architectures", "must be a short list of class names in config.json");
    const std::string text = name.get<std::string>();
    if (!config.family->OwnsClass(text)) {
      return InvalidField("architectures", absl::StrCat("names ", Quoted(text), ", which contradicts model_type ",
                                                        config.family->model_type));
    }
    config.architectures.push_back(text);
  }
  return absl::OkStatus();
}

absl::Status ReadIdToLabel(ConfigReader& reader, ModelConfig& config) {
  const Json* map = reader.Find("id2label");
  if (map == nullptr) return absl::OkStatus();
  if (!map->is_object() || map->size() > static_cast<size_t>(kMaxLabels)) {
    return InvalidField(
        "id2label", absl::StrCat("must be an object from class number to name, with at most ", kMaxLabels, " classes"));
  }
  std::set<std::string> seen;
  for (size_t id = 0; id < map->size(); ++id) {
    auto name = map->find(std::to_string(id));
    const bool number = name != map->end() && name->is_number_integer();  // who trains on numbers names classes so
    if (name == map->end() || !(number || name->is_string()))
      return InvalidField("id2label", absl::StrCat("has no name for class ", id));
    config.labels.push_back(number ? name->dump() : name->get<std::string>());
    if (config.labels.back().empty()) {
      config.head_problem = absl::StrCat("id2label gives class ", id, " no name");
    } else if (!seen.insert(config.labels.back()).second) {
      config.head_problem = absl::StrCat("id2label gives the name ", Quoted(config.labels.back()), " to two classes");
    }
  }
  return absl::OkStatus();
}

// What else is said of the classes. id2label decides.
absl::Status ReadLabels(ConfigReader& reader, ModelConfig& config) {
  ENGRAM_RETURN_IF_ERROR(ReadIdToLabel(reader, config));
  const int64_t named = static_cast<int64_t>(config.labels.size());
  int64_t counted = 0;
  for (const char* key : {"num_labels", "_num_labels"}) {
    int64_t stated = 0;
    ENGRAM_RETURN_IF_ERROR(reader.Integer(key, 0, kMaxLabels, named, stated));
    if (counted == 0) counted = stated;
    if (named > 0 && stated != named)
      config.warnings.push_back(absl::StrCat("config.json: ", key, " is ", stated,
                                             ", but id2label, which decides, names ", named, " classes"));
  }
  for (int64_t id = 0; named == 0 && id < counted; ++id) config.labels.push_back(absl::StrCat("LABEL_", id));
  const Json* inverse = reader.Find("label2id");
  if (inverse == nullptr) return absl::OkStatus();
  Json expected = Json::object();
  for (int64_t id = 0; id < named; ++id) expected[config.labels[static_cast<size_t>(id)]] = id;
  if (*inverse != expected) {
    config.warnings.push_back(named > 0 ? "config.json: label2id contradicts id2label, which decides"
                                        : "config.json: label2id was passed over: there is no id2label");
  }
  return absl::OkStatus();
}

// Probabilities are a softmax over exclusive classes; for the other heads of the same class they would be wrong.
void CheckClassifier(ConfigReader& reader, ModelConfig& config) {
  const Json* problem = reader.Find("problem_type");
  if (!NamesClassOf(config, TaskKind::kSequenceClassification)) return;
  if (problem != nullptr && *problem != "single_label_classification") {
    config.head_problem = absl::StrCat("problem_type is ", ConfigReader::Shown(*problem),
                                       " in config.json; only single_label_classification is read");
  } else if (config.labels.size() == 1) {
    config.head_problem = "id2label names one class only, as for a regression; a classifier has at least two";
  }
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(const std::string& text) {
  ENGRAM_ASSIGN_OR_RETURN(Json json, ParseStrictObject(text, "config.json"));
  ModelConfig config;
  ConfigReader reader(json);
  ENGRAM_RETURN_IF_ERROR(ReadFamily(reader, config));
  ENGRAM_RETURN_IF_ERROR(TranslateOlderKeys(*config.family, json));
  ENGRAM_RETURN_IF_ERROR(ReadArchitectures(reader, config));
  ENGRAM_RETURN_IF_ERROR(RefuseUnimplemented(reader, config));
  ENGRAM_RETURN_IF_ERROR(ReadNumbers(reader, config));
  ENGRAM_RETURN_IF_ERROR(ReadLabels(reader, config));
  CheckClassifier(reader, config);
  ENGRAM_RETURN_IF_ERROR(reader.CheckUnknown(config.warnings));
  return config;
}

absl::StatusOr<std::string> RenderModelConfig(const std::string& original, const std::string& architecture,
                                              const std::vector<std::string>& labels) {
  using Ordered = nlohmann::ordered_json;
  ENGRAM_ASSIGN_OR_RETURN(Ordered json, ParseStrictOrderedObject(original, "config.json"));
  if (labels.size() > static_cast<size_t>(kMaxLabels))
    return InvalidField("labels", absl::StrCat("at most ", kMaxLabels, " classes are possible"));
  json["architectures"] = Ordered::array({architecture});
  for (const char* key : {"num_labels", "_num_labels", "torch_dtype", "id2label", "label2id", "problem_type"})
    json.erase(key);
  json["dtype"] = "float32";
  // The heads that Engram makes are tied, whatever an encoder without one said.
  if (KindOfClass(architecture) == TaskKind::kMaskedLanguageModel) json["tie_word_embeddings"] = true;
  if (labels.empty()) return RenderJson(json, "config.json");
  std::set<std::string> seen;
  Ordered id2label = Ordered::object(), label2id = Ordered::object();
  for (size_t id = 0; id < labels.size(); ++id) {
    if (labels[id].empty()) return InvalidField("labels", absl::StrCat("class ", id, " has an empty name"));
    if (!seen.insert(labels[id]).second)
      return InvalidField("labels", absl::StrCat("the name ", Quoted(labels[id]), " is given to two classes"));
    // Appended as to a vector: the ordered map's own insertion searches all keys each time.
    id2label.get_ref<Ordered::object_t&>().emplace_back(std::to_string(id), labels[id]);
    label2id.get_ref<Ordered::object_t&>().emplace_back(labels[id], id);
  }
  json["id2label"] = std::move(id2label);
  json["label2id"] = std::move(label2id);
  if (KindOfClass(architecture) == TaskKind::kSequenceClassification)
    json["problem_type"] = "single_label_classification";
  return RenderJson(json, "labels");
}

}  // namespace engram::checkpoint
