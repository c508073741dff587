#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
#include "core/tokenize/tokenizer_files.h"

namespace engram::tokenize {
namespace {

using Json = nlohmann::json;

// A boolean that may be absent or null.
void ReadFlag(ObjectReader& reader, const char* key, bool absent, std::optional<bool>& out) {
  out = absent;
  const Json* value = reader.Optional(key);
  if (value == nullptr || value->is_null()) return;
  if (!value->is_boolean()) return reader.Fail(key, "must be true or false");
  out = value->get<bool>();
}

// The object under `key`, which must be of this type.
absl::StatusOr<const Json*> Part(const Json& json, const std::string& key, std::string_view type) {
  const std::string field = absl::StrCat("tokenizer.json: ", key);
  const auto found = json.find(key);
  const bool typed = found != json.end() && found->is_object() && found->contains("type") && (*found)["type"] == type;
  if (!typed) return InvalidField(field, absl::StrCat("only ", AbslView(type), " is read"));
  return &*found;
}

absl::Status ReadNormalizer(const Json& json, TokenizerSettings& settings) {
  ENGRAM_ASSIGN_OR_RETURN(const Json* part, Part(json, "normalizer", "BertNormalizer"));
  ObjectReader reader(*part, "tokenizer.json: normalizer");
  reader.Optional("type");
  ReadFlag(reader, "clean_text", true, settings.clean_text);
  ReadFlag(reader, "handle_chinese_chars", true, settings.chinese_chars);
  ReadFlag(reader, "lowercase", true, settings.lowercase);
  ReadFlag(reader, "strip_accents", *settings.lowercase, settings.strip_accents);  // null follows lowercase
  return reader.Finish();
}

absl::StatusOr<std::vector<std::string>> ReadVocabulary(const Json& vocabulary) {
  constexpr const char* kField = "tokenizer.json: model.vocab";
  if (!vocabulary.is_object() || vocabulary.empty()) return InvalidField(kField, "must map tokens to ids");
  std::vector<std::string> tokens(vocabulary.size());
  std::vector<bool> seen(vocabulary.size());
  for (const auto& [token, id] : vocabulary.items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= tokens.size() || seen[id.get<uint64_t>()])
      return InvalidField(kField, absl::StrCat("the id of ", Quoted(token), " is repeated or leaves a hole"));
    seen[id.get<uint64_t>()] = true;
    tokens[id.get<uint64_t>()] = token;
  }
  return tokens;
}

// What a model is. Files from before tokenizers 0.9 do not say it: then, as tokenizers does, by what it holds.
std::string ModelType(const Json& model) {
  if (model.contains("type")) return model["type"].is_string() ? model["type"].get<std::string>() : std::string();
  const auto has = [&](const char* key) { return model.contains(key); };
  if (!has("vocab")) return "";
  if (has("merges")) return "BPE";
  if (model["vocab"].is_array()) return "Unigram";
  if (!has("unk_token")) return "";
  return has("continuing_subword_prefix") && has("max_input_chars_per_word") ? "WordPiece" : "WordLevel";
}

absl::StatusOr<const Json*> WordPiecePart(const Json& json) {
  constexpr const char* kField = "tokenizer.json: model";
  const auto model = json.find("model");
  if (model == json.end() || !model->is_object()) return InvalidField(kField, "is missing");
  const std::string type = ModelType(*model);
  if (type == "WordPiece") return &*model;
  if (type.empty()) return InvalidField(kField, "does not say what it is, and what it holds fits no kind of tokenizer");
  const std::string whose = type == "BPE"       ? " (the tokenizer of GPT-2 and RoBERTa)"
                            : type == "Unigram" ? " (the tokenizer of XLM-RoBERTa and ALBERT)"
                                                : "";
  return InvalidField(kField, absl::StrCat("is ", Quoted(type), whose, "; only WordPiece, BERT's, is read"));
}

absl::Status ReadModel(const Json& json, TokenizerJson& out) {
  ENGRAM_ASSIGN_OR_RETURN(const Json* part, WordPiecePart(json));
  ObjectReader reader(*part, "tokenizer.json: model");
  reader.Optional("type");
  reader.Text("unk_token", out.settings.unknown.emplace());
  reader.Text("continuing_subword_prefix", out.settings.continuation_prefix.emplace());
  reader.Integer("max_input_chars_per_word", 1, 1'000'000, out.settings.max_characters_per_word.emplace());
  const Json* vocabulary = reader.Required("vocab");
  ENGRAM_RETURN_IF_ERROR(reader.Finish());
  ENGRAM_ASSIGN_OR_RETURN(out.vocabulary, ReadVocabulary(*vocabulary));
  return absl::OkStatus();
}

absl::Status ReadAdded(const Json& json, std::vector<AddedToken>& added) {
  const auto list = json.find("added_tokens");
  if (list == json.end() || list->is_null()) return absl::OkStatus();
  if (!list->is_array()) return InvalidField("tokenizer.json: added_tokens", "must be a list");
  for (const Json& item : *list) {
    ObjectReader reader(item, absl::StrCat("tokenizer.json: added_tokens[", added.size(), "]"));
    AddedToken token;
    reader.Integer("id", 0, static_cast<int64_t>(kMaxTokens), token.id);
    reader.Text("content", token.content);
    for (const auto& [key, flag] : {std::pair{"special", &AddedToken::special},
                                    {"single_word", &AddedToken::single_word},
                                    {"lstrip", &AddedToken::lstrip},
                                    {"rstrip", &AddedToken::rstrip},
                                    {"normalized", &AddedToken::normalized}}) {
      std::optional<bool> set;
      ReadFlag(reader, key, false, set);
      token.*flag = *set;
    }
    ENGRAM_RETURN_IF_ERROR(reader.Finish());
    added.push_back(std::move(token));
  }
  return absl::OkStatus();
}

// {"SpecialToken": {"id": name, "type_id": type}} or the same with "Sequence".
Json Piece(const char* kind, const std::string& name, int type) { return {{kind, {{"id", name}, {"type_id", type}}}}; }

std::string TextAt(const Json& json, const char* pointer) {
  const Json::json_pointer path(pointer);
  return json.contains(path) && json[path].is_string() ? json[path].get<std::string>() : std::string();
}

// [CLS] A [SEP] and [CLS] A [SEP] B [SEP], whatever the two tokens are called.
absl::Status ReadTemplate(const Json& json, TokenizerJson& out) {
  const auto found = json.find("post_processor");
  const Json part = found == json.end() ? Json() : *found;
  const bool bert = TextAt(part, "/type") == "BertProcessing";
  const std::string cls = TextAt(part, bert ? "/cls/0" : "/single/0/SpecialToken/id"),
                    sep = TextAt(part, bert ? "/sep/0" : "/single/2/SpecialToken/id");
  const auto id = [&](const std::string& token) {
    for (size_t i = 0; i < out.vocabulary.size(); ++i) {
      if (out.vocabulary[i] == token) return static_cast<int64_t>(i);
    }
    for (const AddedToken& added : out.settings.added) {
      if (added.content == token) return added.id;
    }
    return int64_t{-1};
  };
  Json expected;
  if (bert) {
    expected = {{"type", "BertProcessing"}, {"cls", Json::array({cls, id(cls)})}, {"sep", Json::array({sep, id(sep)})}};
  } else {
    const auto special = [&](const std::string& token) {
      return Json{{"id", token}, {"ids", Json::array({id(token)})}, {"tokens", Json::array({token})}};
    };
    const Json first = Piece("SpecialToken", cls, 0), text = Piece("Sequence", "A", 0),
               end = Piece("SpecialToken", sep, 0);
    expected = {{"type", "TemplateProcessing"},
                {"single", Json::array({first, text, end})},
                {"pair", Json::array({first, text, end, Piece("Sequence", "B", 1), Piece("SpecialToken", sep, 1)})},
                {"special_tokens", {{cls, special(cls)}, {sep, special(sep)}}}};
  }
  if (part != expected) {
    return InvalidField("tokenizer.json: post_processor",
                        "only BERT's template is read: [CLS] A [SEP], and [CLS] A [SEP] B [SEP] with type 1 for B");
  }
  out.settings.cls = cls;
  out.settings.sep = sep;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerJson> ReadTokenizerJson(std::string_view text) {
  JsonLimits limits;
  limits.bytes = kMaxTokenizerFile;
  limits.keys = kMaxTokens;
  ENGRAM_ASSIGN_OR_RETURN(const Json json, ParseStrictObject(text, "tokenizer.json", limits));
  ObjectReader reader(json, "tokenizer.json");
  for (const char* key : {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                          "post_processor", "decoder", "model"})
    reader.Optional(key);
  ENGRAM_RETURN_IF_ERROR(reader.Finish());
  TokenizerJson out;
  ENGRAM_RETURN_IF_ERROR(WordPiecePart(json).status());  // what it is comes before what else it has
  ENGRAM_RETURN_IF_ERROR(ReadNormalizer(json, out.settings));
  ENGRAM_RETURN_IF_ERROR(Part(json, "pre_tokenizer", "BertPreTokenizer").status());
  ENGRAM_RETURN_IF_ERROR(ReadModel(json, out));
  ENGRAM_RETURN_IF_ERROR(ReadAdded(json, out.settings.added));
  ENGRAM_RETURN_IF_ERROR(ReadTemplate(json, out));
  return out;
}

}  // namespace engram::tokenize
