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
#include "core/checkpoint/model_config_keys.h"

namespace engram::checkpoint {
namespace {

using Json = nlohmann::json;

// Whether one edit makes `a` into `b`: a character more, less, or another one, or two that are swapped.
bool IsSlip(std::string_view a, std::string_view b) {
  while (!a.empty() && !b.empty() && a.front() == b.front()) a.remove_prefix(1), b.remove_prefix(1);
  while (!a.empty() && !b.empty() && a.back() == b.back()) a.remove_suffix(1), b.remove_suffix(1);
  return (a.size() <= 1 && b.size() <= 1) || (a.size() == 2 && b.size() == 2 && a[0] == b[1] && a[1] == b[0]);
}

// Reads the members of config.json, where null means absent, and remembers which it was asked for.
class ConfigReader {
 public:
  explicit ConfigReader(const Json& json) : json_(json) {}

  // The member; nullptr if it is absent or null.
  const Json* Find(const char* key) {
    known_.insert(key);
    auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }

  absl::Status Integer(const char* key, int64_t low, int64_t high, std::optional<int64_t> absent, int64_t& out) {
    const Json* value = Find(key);
    if (value == nullptr) {
      if (!absent) return InvalidField(key, "is missing from config.json");
      out = *absent;
      return absl::OkStatus();
    }
    // An unsigned value above the largest int64 would wrap in get<int64_t>.
    const bool huge = value->is_number_unsigned() &&
                      value->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    if (!value->is_number_integer() || huge || value->get<int64_t>() < low || value->get<int64_t>() > high) {
      return InvalidField(
          key, absl::StrCat("is ", Shown(*value), " in config.json; it must be an integer from ", low, " to ", high));
    }
    out = value->get<int64_t>();
    return absl::OkStatus();
  }

  absl::Status Real(const char* key, double low, double high, double absent, double& out) {
    const Json* value = Find(key);
    out = absent;
    if (value == nullptr) return absl::OkStatus();
    if (!value->is_number() || !(value->get<double>() >= low && value->get<double>() <= high)) {
      return InvalidField(
          key, absl::StrCat("is ", Shown(*value), " in config.json; it must be a number from ", low, " to ", high));
    }
    out = value->get<double>();
    return absl::OkStatus();
  }

  // A key that may only be absent or have this value.
  absl::Status Only(const char* key, const Json& allowed, std::string_view why) {
    const Json* value = Find(key);
    if (value == nullptr || *value == allowed) return absl::OkStatus();
    return InvalidField(key, absl::StrCat("is ", Shown(*value), " in config.json: ", AbslView(why)));
  }

  // Another name for a number that was read as `key`.
  absl::Status SameAs(const char* alias, const char* key, int64_t expected) {
    const Json* value = Find(alias);
    if (value == nullptr || *value == Json(expected)) return absl::OkStatus();
    return InvalidField(alias,
                        absl::StrCat("is ", Shown(*value), " in config.json and contradicts ", key, " ", expected));
  }

  // What is left: keys that nobody reads are warned of. Those that change some model, and those that are a slip of the
  // pen away from one that is read, are refused.
  absl::Status CheckUnknown(std::vector<std::string>& warnings) const {
    const std::set<std::string>& harmless = HarmlessConfigKeys();
    for (const auto& [key, value] : json_.items()) {
      if (known_.contains(key) || harmless.contains(key)) continue;
      const auto meant = std::find_if(known_.begin(), known_.end(),
                                      [&key = key](const std::string& known) { return IsSlip(key, known); });
      if (meant == known_.end() && !IsKeyOfTransformers(key)) {
        warnings.push_back(absl::StrCat("config.json: the key ", Quoted(key),
                                        " is read by no model of transformers and was passed over"));
        continue;
      }
      return InvalidField(Quoted(key),
                          absl::StrCat("config.json has this key, which Engram does not know",
                                       meant == known_.end() ? " and which changes what some models compute"
                                                             : absl::StrCat(" (it knows ", *meant, ")"),
                                       "; remove it if it changes nothing in this encoder"));
    }
    return absl::OkStatus();
  }

  static std::string Shown(const Json& value) {
    return Quoted(value.is_string() ? value.get<std::string>()
                                    : value.dump(-1, ' ', false, Json::error_handler_t::replace));
  }

 private:
  const Json& json_;
  std::set<std::string> known_;
};

absl::Status ReadFamily(ConfigReader& reader, ModelConfig& config) {
  const Json* type = reader.Find("model_type");
  if (type != nullptr && type->is_string()) config.family = FindFamily(type->get<std::string>());
  if (config.family != nullptr) return absl::OkStatus();
  return InvalidField(
      "model_type",
      absl::StrCat(type == nullptr ? "is missing from config.json" : absl::StrCat("is ", ConfigReader::Shown(*type)),
                   "; Engram reads ", absl::StrJoin(KnownModelTypes(), ", "), ", each with a WordPiece tokenizer"));
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
  ENGRAM_RETURN_IF_ERROR(reader.SameAs("num_hidden_layers", keys.layers, config.layers));
  ENGRAM_RETURN_IF_ERROR(reader.SameAs("num_attention_heads", keys.heads, config.heads));
  if (config.hidden_size % config.heads != 0) {
    return InvalidField(keys.heads,
                        absl::StrCat(config.heads, " does not divide ", keys.hidden_size, " ", config.hidden_size));
  }
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
  ENGRAM_RETURN_IF_ERROR(reader.Real("layer_norm_eps", 1e-30, 1.0, 1e-12, config.layer_norm_eps));
  ENGRAM_RETURN_IF_ERROR(reader.Real("initializer_range", 0, 10, 0.02, config.initializer_range));
  ENGRAM_RETURN_IF_ERROR(reader.Real(keys.hidden_dropout, 0, 0.99, 0.1, config.hidden_dropout));
  ENGRAM_RETURN_IF_ERROR(reader.Real(keys.attention_dropout, 0, 0.99, 0.1, config.attention_dropout));
  ENGRAM_RETURN_IF_ERROR(reader.Real(keys.classifier_dropout, 0, 0.99,
                                     config.family->default_classifier_dropout.value_or(config.hidden_dropout),
                                     config.classifier_dropout));
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

// Features that would change what the encoder computes and are not implemented.
absl::Status RefuseUnimplemented(ConfigReader& reader, ModelConfig& config) {
  ENGRAM_RETURN_IF_ERROR(reader.Only("position_embedding_type", "absolute", "only absolute positions are implemented"));
  ENGRAM_RETURN_IF_ERROR(reader.Only("is_decoder", false, "decoders are not encoders"));
  ENGRAM_RETURN_IF_ERROR(reader.Only("add_cross_attention", false, "cross-attention is not implemented"));
  ENGRAM_RETURN_IF_ERROR(reader.Only("is_encoder_decoder", false, "only encoders are implemented"));
  if (const Json* pruned = reader.Find("pruned_heads"); pruned != nullptr && !pruned->empty()) {
    return InvalidField("pruned_heads", "names pruned attention heads in config.json; they are not implemented");
  }
  if (reader.Find("quantization_config") != nullptr) {
    return InvalidField("quantization_config", "the weights are quantized; import the original model");
  }
  if (reader.Find("auto_map") != nullptr)
    return InvalidField("auto_map", "the model asks for code of its own, which is never run");
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
    if (name == map->end() || !name->is_string())
      return InvalidField("id2label", absl::StrCat("has no name for class ", id));
    config.labels.push_back(name->get<std::string>());
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
  ENGRAM_ASSIGN_OR_RETURN(const Json json, ParseStrictObject(text, "config.json"));
  ModelConfig config;
  ConfigReader reader(json);
  ENGRAM_RETURN_IF_ERROR(ReadFamily(reader, config));
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
