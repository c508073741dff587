#include "core/checkpoint/sentence_modules.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/files.h"
#include "core/base/strict_json.h"

namespace engram::checkpoint {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxConfigBytes = 1 << 20, kMaxModules = 32, kMaxPoolings = 16;
constexpr const char* kPromptFile = "config_sentence_transformers.json";
constexpr const char* kBarePoolingFile = "1_Pooling/config.json";
// The names that sentence-transformers has given the Transformer's own file, in the order in which it looks for them.
constexpr std::array kTransformerFiles = {"sentence_bert_config.json",       "sentence_roberta_config.json",
                                          "sentence_distilbert_config.json", "sentence_camembert_config.json",
                                          "sentence_albert_config.json",     "sentence_xlm-roberta_config.json",
                                          "sentence_xlnet_config.json"};

struct NamedPooling {
  TokenPooling pooling;
  const char *name, *key;  // of pooling_mode, and of the older switch
};
// In the order in which sentence-transformers concatenates what several switches ask for.
constexpr std::array<NamedPooling, 6> kPoolings = {{
    {TokenPooling::kCls, "cls", "pooling_mode_cls_token"},
    {TokenPooling::kMax, "max", "pooling_mode_max_tokens"},
    {TokenPooling::kMean, "mean", "pooling_mode_mean_tokens"},
    {TokenPooling::kMeanSqrtLen, "mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens"},
    {TokenPooling::kWeightedMean, "weightedmean", "pooling_mode_weightedmean_tokens"},
    {TokenPooling::kLastToken, "lasttoken", "pooling_mode_lasttoken"},
}};

// One entry of modules.json.
struct ModuleEntry {
  std::string type;  // the class's name: "Pooling"
  std::string path;  // "" or one folder
};

std::string Dump(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string PoolingNames(const std::vector<TokenPooling>& modes) {
  return absl::StrJoin(modes, "+",
                       [](std::string* out, TokenPooling mode) { absl::StrAppend(out, TokenPoolingName(mode)); });
}

// The text of a file of the directory; nullopt if it is not there.
absl::StatusOr<std::optional<std::string>> ReadIfThere(const std::string& directory, const std::string& file) {
  const std::string path = absl::StrCat(directory, "/", file);
  if (!PathExists(path)) return std::nullopt;
  absl::StatusOr<std::string> text = ReadFile(path, kMaxConfigBytes);
  if (!text.ok()) return Annotate(text.status(), file);
  return *std::move(text);
}

absl::StatusOr<std::string> ReadRequired(const std::string& directory, const std::string& file) {
  ENGRAM_ASSIGN_OR_RETURN(std::optional<std::string> text, ReadIfThere(directory, file));
  if (!text) return InvalidField(file, "is missing, though modules.json names its module");
  return *std::move(text);
}

// A flag that may be absent or null.
void Flag(ObjectReader& reader, const std::string& key, bool& out) {
  const Json* value = reader.Optional(key);
  if (value == nullptr || value->is_null()) return;
  if (!value->is_boolean()) {
    reader.Fail(key, absl::StrCat("is ", Quoted(Dump(*value)), "; it must be true or false"));
    return;
  }
  out = value->get<bool>();
}

// A member that changes the vector in a way that is not implemented, unless it is absent, null, empty or `allowed`.
void Only(ObjectReader& reader, const std::string& key, const Json& allowed) {
  const Json* value = reader.Optional(key);
  if (value == nullptr || value->is_null() || *value == allowed || (value->is_object() && value->empty())) return;
  reader.Fail(key, absl::StrCat("is ", Quoted(Dump(*value)), ", which is not implemented",
                                allowed.is_null() ? std::string() : absl::StrCat("; it may be ", Dump(allowed))));
}

// --- Pooling

void ReadSwitches(ObjectReader& reader, std::vector<TokenPooling>& modes) {
  for (const NamedPooling& known : kPoolings) {
    bool on = false;
    Flag(reader, known.key, on);
    if (on) modes.push_back(known.pooling);
  }
}

void ReadModes(ObjectReader& reader, const Json& stated, std::vector<TokenPooling>& modes) {
  const Json list = stated.is_array() ? stated : Json::array({stated});
  if (list.empty() || list.size() > kMaxPoolings) {
    reader.Fail("pooling_mode", absl::StrCat("must name 1 to ", kMaxPoolings, " poolings"));
    return;
  }
  for (const Json& mode : list) {
    const auto* known = std::find_if(kPoolings.begin(), kPoolings.end(),
                                     [&](const NamedPooling& pooling) { return mode == Json(pooling.name); });
    if (known == kPoolings.end()) {
      reader.Fail("pooling_mode", absl::StrCat("names ", Quoted(Dump(mode)),
                                               "; the poolings are cls, max, mean, mean_sqrt_len_tokens, weightedmean "
                                               "and lasttoken"));
      return;
    }
    modes.push_back(known->pooling);
  }
}

// --- modules.json

absl::StatusOr<ModuleEntry> ReadEntry(const Json& json, const std::string& field) {
  ObjectReader reader(json, field);
  std::string type;
  ModuleEntry entry;
  reader.Text("type", type);
  reader.Text("path", entry.path);
  for (const char* key : {"idx", "name"}) reader.Optional(key);  // they order and name what the list orders already
  const Json* kwargs = reader.Optional("kwargs");
  if (kwargs != nullptr && !kwargs->empty())
    reader.Fail("kwargs", absl::StrCat("is ", Quoted(Dump(*kwargs)), "; arguments of a module are not implemented"));
  ENGRAM_RETURN_IF_ERROR(reader.Finish());
  if (!type.starts_with("sentence_transformers.")) {
    return InvalidField(absl::StrCat(field, ".type"),
                        absl::StrCat("is ", Quoted(type), ": a module with code of its own, which is never run"));
  }
  entry.type = type.substr(type.rfind('.') + 1);
  const auto plain = [](char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-'; };
  if (!std::all_of(entry.path.begin(), entry.path.end(), plain)) {
    return InvalidField(absl::StrCat(field, ".path"),
                        absl::StrCat("is ", Quoted(entry.path), "; it must be the name of one folder"));
  }
  return entry;
}

absl::StatusOr<std::vector<ModuleEntry>> ParseEntries(const std::string& text) {
  // The file is a list; the reader of objects checks it as the only member of one.
  ENGRAM_ASSIGN_OR_RETURN(const Json json, ParseStrictObject(absl::StrCat("{\"modules\":", text, "}"), kModulesFile));
  if (json.size() != 1 || !json["modules"].is_array() || json["modules"].empty() ||
      json["modules"].size() > kMaxModules) {
    return InvalidField(kModulesFile, absl::StrCat("must be a list of 1 to ", kMaxModules, " modules"));
  }
  std::vector<ModuleEntry> entries;
  for (size_t i = 0; i < json["modules"].size(); ++i) {
    ENGRAM_ASSIGN_OR_RETURN(ModuleEntry entry,
                            ReadEntry(json["modules"][i], absl::StrCat(kModulesFile, ": [", i, "]")));
    entries.push_back(std::move(entry));
  }
  return entries;
}

// The chain is Transformer, Pooling, and then what maps a vector to a vector.
absl::Status CheckChain(const std::vector<ModuleEntry>& entries) {
  static const std::set<std::string> later = {"Dense", "Normalize", "Dropout"};
  for (size_t i = 0; i < entries.size(); ++i) {
    const std::string expected = i == 0 ? "Transformer" : i == 1 ? "Pooling" : "Dense, Normalize or Dropout";
    const bool fits = i < 2 ? entries[i].type == expected : later.contains(entries[i].type);
    if (!fits) {
      return InvalidField(
          absl::StrCat(kModulesFile, ": [", i, "].type"),
          absl::StrCat("is ", Quoted(entries[i].type), ", which is not implemented here; this place takes ", expected));
    }
  }
  if (entries.size() < 2)
    return InvalidField(kModulesFile, "has no Pooling behind the Transformer, so it defines no vector of a text");
  if (!entries[0].path.empty()) {
    return InvalidField(absl::StrCat(kModulesFile, ": [0].path"),
                        absl::StrCat("is ", Quoted(entries[0].path),
                                     ": the Transformer's files must be in the model's own folder; load the model with "
                                     "sentence-transformers and save it again"));
  }
  return absl::OkStatus();
}

// The modules of modules.json; without it the two of a bare encoder, the second with the folder 1_Pooling if that is there; without that one
// as well the first alone.
absl::StatusOr<std::vector<ModuleEntry>> ReadEntries(const std::string& directory, bool& stated) {
  ENGRAM_ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadIfThere(directory, kModulesFile));
  stated = text.has_value();
  if (!text) {
    std::vector<ModuleEntry> entries = {{"Transformer", ""}};
    if (PathExists(absl::StrCat(directory, "/", kBarePoolingFile))) entries.push_back({"Pooling", "1_Pooling"});
    return entries;
  }
  ENGRAM_ASSIGN_OR_RETURN(std::vector<ModuleEntry> entries, ParseEntries(*text));
  ENGRAM_RETURN_IF_ERROR(CheckChain(entries));
  return entries;
}

absl::StatusOr<PoolingModule> ReadPooling(const std::string& directory, const ModuleEntry& entry) {
  const std::string file = absl::StrCat(entry.path, "/config.json");
  ENGRAM_ASSIGN_OR_RETURN(const std::string text, ReadRequired(directory, file));
  return ParsePoolingModule(text, file);
}

// Only "sentence_embedding" in and out: anything else works on what other modules leave behind.
void CheckNames(ObjectReader& reader) {
  for (const char* key : {"module_input_name", "module_output_name"}) Only(reader, key, "sentence_embedding");
}

absl::StatusOr<DenseModule> ReadDense(const std::string& directory, const ModuleEntry& entry) {
  const std::string file = absl::StrCat(entry.path, "/config.json");
  ENGRAM_ASSIGN_OR_RETURN(const std::string text, ReadRequired(directory, file));
  ENGRAM_ASSIGN_OR_RETURN(const Json json, ParseStrictObject(text, file));
  ObjectReader reader(json, file);
  DenseModule dense;
  dense.path = entry.path;
  reader.Integer("in_features", 1, kMaxPoolings * kMaxWidth, dense.in_features);
  reader.Integer("out_features", 1, kMaxWidth, dense.out_features);
  Flag(reader, "bias", dense.bias);
  Flag(reader, "use_residual", dense.residual);
  CheckNames(reader);
  dense.activation = "Tanh";  // of a Dense whose file names none
  if (const Json* activation = reader.Optional("activation_function"); activation != nullptr) {
    const std::string name = activation->is_string() ? activation->get<std::string>() : "";
    if (!name.starts_with("torch.nn.")) {
      reader.Fail("activation_function",
                  absl::StrCat("is ", Quoted(Dump(*activation)), "; it must be a class of torch.nn"));
    }
    dense.activation = name.substr(name.rfind('.') + 1);
  }
  ENGRAM_RETURN_IF_ERROR(reader.Finish());
  const std::string weights = absl::StrCat(entry.path, "/model.safetensors");
  if (!PathExists(absl::StrCat(directory, "/", weights))) {
    return InvalidField(
        weights,
        "is missing, and so is the module's pytorch_model.bin: load the model with sentence-transformers and save it "
        "again, which writes safetensors");
  }
  return dense;
}

// Normalize and Dropout may lack the file; what it may say changes nothing, or is refused.
absl::Status CheckPlainModule(const std::string& directory, const ModuleEntry& entry) {
  if (entry.path.empty()) return absl::OkStatus();
  const std::string file = absl::StrCat(entry.path, "/config.json");
  ENGRAM_ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadIfThere(directory, file));
  if (!text) return absl::OkStatus();
  ENGRAM_ASSIGN_OR_RETURN(const Json json, ParseStrictObject(*text, file));
  ObjectReader reader(json, file);
  if (entry.type == "Dropout") {
    reader.Optional("dropout");  // for training
  } else {
    CheckNames(reader);
  }
  return reader.Finish();
}

// --- The Transformer's own file

struct TransformerSettings {
  std::string file;  // empty: there is none
  std::optional<int64_t> max_seq_length;
  bool lowercase = false;
};

absl::StatusOr<TransformerSettings> ReadTransformer(const std::string& directory) {
  TransformerSettings settings;
  std::string text;
  for (const char* file : kTransformerFiles) {
    ENGRAM_ASSIGN_OR_RETURN(const std::optional<std::string> found, ReadIfThere(directory, file));
    if (!found) continue;
    if (!settings.file.empty()) {
      return InvalidField(file, absl::StrCat("and ", settings.file,
                                             " are both there, and only one can say how texts are "
                                             "read; remove the other"));
    }
    settings.file = file;
    text = *found;
  }
  if (settings.file.empty()) return settings;
  ENGRAM_ASSIGN_OR_RETURN(const Json json, ParseStrictObject(text, settings.file));
  ObjectReader reader(json, settings.file);
  if (const Json* length = reader.Optional("max_seq_length"); length != nullptr && !length->is_null()) {
    int64_t tokens = 0;
    reader.Integer("max_seq_length", 1, std::numeric_limits<int32_t>::max(), tokens);
    settings.max_seq_length = tokens;
  }
  Flag(reader, "do_lower_case", settings.lowercase);
  Only(reader, "transformer_task", "feature-extraction");
  Only(reader, "module_output_name", "token_embeddings");
  Only(reader, "modality_config", {{"text", {{"method", "forward"}, {"method_output_name", "last_hidden_state"}}}});
  for (const char* key : {"model_args", "tokenizer_args", "config_args", "model_kwargs", "processor_kwargs",
                          "config_kwargs", "processing_kwargs", "query_length", "document_length", "query_expansion"})
    Only(reader, key, nullptr);
  reader.Optional("unpad_inputs");  // how fast, not what
  ENGRAM_RETURN_IF_ERROR(reader.Finish());
  return settings;
}

// model_max_length of tokenizer_config.json; nullopt if nothing is said, or with the number that transformers writes for "no limit".
absl::StatusOr<std::optional<int64_t>> TokenizerLength(const std::string& directory) {
  constexpr const char* kFile = "tokenizer_config.json";
  ENGRAM_ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadIfThere(directory, kFile));
  if (!text) return std::nullopt;
  ENGRAM_ASSIGN_OR_RETURN(const Json json, ParseStrictObject(*text, kFile));
  const auto found = json.find("model_max_length");
  if (found == json.end() || found->is_null()) return std::nullopt;
  if (!found->is_number() || found->get<double>() < 1)
    return InvalidField(absl::StrCat(kFile, ": model_max_length"), "must be a positive number");
  if (found->get<double>() > std::numeric_limits<int32_t>::max()) return std::nullopt;
  return static_cast<int64_t>(found->get<double>());
}

// max_seq_length may ask for less than the tokenizer and the positions allow, never for more.
absl::StatusOr<int64_t> WindowOf(const TransformerSettings& settings, std::optional<int64_t> tokenizer,
                                 const ModelConfig& config) {
  if (!settings.max_seq_length) return std::min(tokenizer.value_or(config.max_length()), config.max_length());
  const std::string field = absl::StrCat(settings.file, ": max_seq_length");
  if (*settings.max_seq_length > config.max_length()) {
    return InvalidField(field, absl::StrCat("is ", *settings.max_seq_length, ", but config.json has positions for ",
                                            config.max_length(), " tokens; correct one of the two"));
  }
  if (tokenizer && *settings.max_seq_length > *tokenizer) {
    return InvalidField(field, absl::StrCat("is ", *settings.max_seq_length, ", but tokenizer_config.json's ",
                                            "model_max_length is ", *tokenizer, "; correct one of the two"));
  }
  return *settings.max_seq_length;
}

// --- config_sentence_transformers.json

absl::Status ReadPrompts(const std::string& directory, SentenceModules& out) {
  ENGRAM_ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadIfThere(directory, kPromptFile));
  if (!text) return absl::OkStatus();
  ENGRAM_ASSIGN_OR_RETURN(const Json json, ParseStrictObject(*text, kPromptFile));
  ObjectReader reader(json, kPromptFile);
  for (const char* key : {"__version__", "similarity_fn_name"}) reader.Optional(key);  // no part of a vector
  Only(reader, "model_type", "SentenceTransformer");
  if (const Json* prompts = reader.Optional("prompts"); prompts != nullptr && !prompts->is_null())
    reader.TextMap("prompts", out.prompts);
  if (const Json* name = reader.Optional("default_prompt_name"); name != nullptr && !name->is_null()) {
    reader.Text("default_prompt_name", out.default_prompt);
    if (reader.ok() && !out.prompts.contains(out.default_prompt))
      reader.Fail("default_prompt_name",
                  absl::StrCat("is ", Quoted(out.default_prompt), ", which prompts does not have"));
  }
  if (const Json* size = reader.Optional("truncate_dim"); size != nullptr && !size->is_null()) {
    int64_t kept = 0;
    reader.Integer("truncate_dim", 1, kMaxPoolings * kMaxWidth, kept);
    out.truncate_dim = kept;
  }
  return reader.Finish();
}

// --- The whole

absl::Status ReadSteps(const std::string& directory, const std::vector<ModuleEntry>& entries, int64_t width,
                       SentenceModules& out) {
  for (size_t i = 2; i < entries.size(); ++i) {
    if (entries[i].type != "Dense") {
      ENGRAM_RETURN_IF_ERROR(CheckPlainModule(directory, entries[i]));
      if (entries[i].type == "Normalize") out.steps.emplace_back(NormalizeModule());
      continue;
    }
    ENGRAM_ASSIGN_OR_RETURN(DenseModule dense, ReadDense(directory, entries[i]));
    if (dense.in_features != width) {
      return InvalidField(
          absl::StrCat(entries[i].path, "/config.json: in_features"),
          absl::StrCat("is ", dense.in_features, ", but the module before it gives ", width, " numbers"));
    }
    width = dense.out_features;
    out.steps.emplace_back(std::move(dense));
  }
  if (out.truncate_dim && *out.truncate_dim > width) {
    return InvalidField(absl::StrCat(kPromptFile, ": truncate_dim"),
                        absl::StrCat("is ", *out.truncate_dim, ", but the vector has ", width, " numbers"));
  }
  return absl::OkStatus();
}

// Without modules.json sentence-transformers looks at no other file of its own: a vector that differs from what they say would surprise.
absl::Status CheckBare(const SentenceModules& read, int64_t bare_window) {
  const bool mean = read.pooling.modes == std::vector{TokenPooling::kMean} && read.pooling.include_prompt;
  if (mean && read.max_tokens == bare_window && read.prompts.empty() && !read.truncate_dim) return absl::OkStatus();
  return InvalidField(
      kModulesFile, absl::StrCat("is missing, though other files of sentence-transformers define a vector by pooling ",
                                 PoolingNames(read.pooling.modes), " over at most ", read.max_tokens,
                                 " tokens; add it, or remove them: a bare encoder's vector is the mean"));
}

}  // namespace

const char* TokenPoolingName(TokenPooling pooling) {
  for (const NamedPooling& known : kPoolings) {
    if (known.pooling == pooling) return known.name;
  }
  return "";
}

absl::StatusOr<PoolingModule> ParsePoolingModule(const std::string& text, const std::string& file) {
  ENGRAM_ASSIGN_OR_RETURN(const Json json, ParseStrictObject(text, file));
  ObjectReader reader(json, file);
  PoolingModule pooling;
  std::vector<TokenPooling> switched, named;
  ReadSwitches(reader, switched);
  if (const Json* mode = reader.Optional("pooling_mode"); mode != nullptr) ReadModes(reader, *mode, named);
  if (reader.ok() && !switched.empty() && !named.empty() && switched != named) {
    reader.Fail("pooling_mode", absl::StrCat("is ", PoolingNames(named), ", but the switches pooling_mode_* say ",
                                             PoolingNames(switched)));
  }
  if (!switched.empty() || !named.empty()) pooling.modes = named.empty() ? switched : named;
  Flag(reader, "include_prompt", pooling.include_prompt);
  for (const char* key : {"word_embedding_dimension", "embedding_dimension"}) {
    if (reader.Optional(key) == nullptr) continue;
    int64_t stated = 0;
    reader.Integer(key, 1, kMaxWidth, stated);
    if (reader.ok() && pooling.dimension && *pooling.dimension != stated)
      reader.Fail(key, absl::StrCat("is ", stated, ", but word_embedding_dimension is ", *pooling.dimension));
    pooling.dimension = stated;
  }
  ENGRAM_RETURN_IF_ERROR(reader.Finish());
  return pooling;
}

absl::StatusOr<std::optional<PoolingModule>> ReadPoolingModule(const std::string& directory) {
  bool stated = false;
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<ModuleEntry> entries, ReadEntries(directory, stated));
  if (entries.size() < 2) return std::nullopt;
  return ReadPooling(directory, entries[1]);
}

absl::StatusOr<SentenceModules> ReadSentenceModules(const std::string& directory, const ModelConfig& config,
                                                    bool tokenizer_lowercases) {
  SentenceModules out;
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<ModuleEntry> entries, ReadEntries(directory, out.stated));
  ENGRAM_ASSIGN_OR_RETURN(const TransformerSettings settings, ReadTransformer(directory));
  ENGRAM_ASSIGN_OR_RETURN(const std::optional<int64_t> tokenizer, TokenizerLength(directory));
  ENGRAM_ASSIGN_OR_RETURN(out.max_tokens, WindowOf(settings, tokenizer, config));
  if (settings.lowercase && !tokenizer_lowercases) {
    return InvalidField(absl::StrCat(settings.file, ": do_lower_case"),
                        "is true, but the tokenizer's own files say false; make the two agree");
  }
  if (entries.size() > 1) {
    ENGRAM_ASSIGN_OR_RETURN(out.pooling, ReadPooling(directory, entries[1]));
  }
  if (out.pooling.dimension.value_or(config.hidden_size) != config.hidden_size) {
    return InvalidField(
        absl::StrCat(entries[1].path, "/config.json: word_embedding_dimension"),
        absl::StrCat("is ", *out.pooling.dimension, ", but config.json's hidden size is ", config.hidden_size));
  }
  ENGRAM_RETURN_IF_ERROR(ReadPrompts(directory, out));
  ENGRAM_RETURN_IF_ERROR(ReadSteps(directory, entries, out.pooled_width(config.hidden_size), out));
  if (!out.stated) {
    ENGRAM_ASSIGN_OR_RETURN(const int64_t bare, WindowOf({}, tokenizer, config));
    ENGRAM_RETURN_IF_ERROR(CheckBare(out, bare));
  }
  return out;
}

std::vector<std::string> SentenceFiles(const std::string& directory) {
  std::vector<std::string> names = {kModulesFile, kPromptFile};
  names.insert(names.end(), kTransformerFiles.begin(), kTransformerFiles.end());
  bool stated = false;
  if (const auto entries = ReadEntries(directory, stated); entries.ok()) {
    for (const ModuleEntry& entry : *entries) {
      if (entry.path.empty()) continue;
      names.push_back(absl::StrCat(entry.path, "/config.json"));
      names.push_back(absl::StrCat(entry.path, "/model.safetensors"));
    }
  }
  std::vector<std::string> files;
  std::copy_if(names.begin(), names.end(), std::back_inserter(files),
               [&](const std::string& name) { return PathExists(absl::StrCat(directory, "/", name)); });
  return files;
}

}  // namespace engram::checkpoint
