#include "core/tokenize/tokenizer_json.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/tokenize/tokenizer_files.h"

namespace engram::tokenize {
namespace {

using Json = nlohmann::json;

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
  settings.clean_text = ReadFlag(reader, "clean_text", true);
  settings.chinese_chars = ReadFlag(reader, "handle_chinese_chars", true);
  settings.lowercase = ReadFlag(reader, "lowercase", true);
  settings.strip_accents = ReadFlag(reader, "strip_accents", *settings.lowercase);  // null follows lowercase
  return reader.Finish();
}

std::string ModelType(const Json& model) {
  if (model.contains("type")) return model["type"].is_string() ? model["type"].get<std::string>() : std::string();
  const auto has = [&](const char* key) { return model.contains(key); };
  if (!has("vocab")) return "";
  if (has("merges")) return "BPE";
  if (model["vocab"].is_array()) return "Unigram";
  if (!has("unk_token")) return "";
  return has("continuing_subword_prefix") && has("max_input_chars_per_word") ? "WordPiece" : "WordLevel";
}

absl::Status ReadModel(const Json& json, TokenizerJson& out) {
  ObjectReader reader(json["model"], "tokenizer.json: model");
  reader.Optional("type");
  reader.Text("unk_token", out.settings.unknown.emplace());
  reader.Text("continuing_subword_prefix", out.settings.continuation_prefix.emplace());
  reader.Integer("max_input_chars_per_word", 1, 1'000'000, out.settings.max_characters_per_word.emplace());
  const Json* vocabulary = reader.Required("vocab");
  ENGRAM_RETURN_IF_ERROR(reader.Finish());
  ENGRAM_ASSIGN_OR_RETURN(out.vocabulary, ReadVocabularyObject(*vocabulary));
  return absl::OkStatus();
}

// One special token before the text and one behind it, as a WordPiece tokenizer's cls and sep.
absl::Status ReadFrame(const Json& json, TokenizerJson& out) {
  const auto find = [&](const std::string& token) {
    const auto at = std::find(out.vocabulary.begin(), out.vocabulary.end(), token);
    if (at != out.vocabulary.end()) return static_cast<int64_t>(at - out.vocabulary.begin());
    for (const AddedToken& added : out.settings.added) {
      if (added.content == token) return added.id;
    }
    return int64_t{-1};
  };
  constexpr const char* kField = "tokenizer.json: post_processor";
  ENGRAM_ASSIGN_OR_RETURN(PostProcessing post, ReadPostProcessor(json, find));
  const std::vector<Template::Part>& single = post.frame.single;
  if (single.size() != 3 || single[1].kind != Template::Part::kFirst)
    return InvalidField(kField, "must put one special token before a text and one behind it");
  const auto text = [&](int64_t id) {
    if (id < static_cast<int64_t>(out.vocabulary.size())) return out.vocabulary[static_cast<size_t>(id)];
    const auto at = std::find_if(out.settings.added.begin(), out.settings.added.end(),
                                 [&](const AddedToken& added) { return added.id == id; });
    return at->content;
  };
  out.settings.cls = text(single[0].id);
  out.settings.sep = text(single[2].id);
  // WordPiece's own tokens have no space at their ends.
  const auto spaced = [](const AddedToken& token) {
    return !token.content.empty() && (token.content.front() == ' ' || token.content.back() == ' ');
  };
  if (post.trim_offsets && std::any_of(out.settings.added.begin(), out.settings.added.end(), spaced))
    return InvalidField(kField,
                        "trims offsets, which is not implemented for added tokens that begin or end with a space");
  out.frame = std::move(post.frame);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Json> ParseTokenizerJson(std::string_view text) {
  JsonLimits limits;
  limits.bytes = kMaxTokenizerFile;
  limits.keys = kMaxTokens;
  ENGRAM_ASSIGN_OR_RETURN(Json json, ParseStrictObject(text, "tokenizer.json", limits));
  ObjectReader reader(json, "tokenizer.json");
  for (const char* key : {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                          "post_processor", "decoder", "model"})
    reader.Optional(key);
  ENGRAM_RETURN_IF_ERROR(reader.Finish());
  return json;
}

absl::StatusOr<std::string> ModelTypeOf(const Json& json) {
  constexpr const char* kField = "tokenizer.json: model";
  const auto model = json.find("model");
  if (model == json.end() || !model->is_object()) return InvalidField(kField, "is missing");
  std::string type = ModelType(*model);
  if (type == "WordPiece" || type == "BPE" || type == "Unigram") return type;
  if (type.empty()) return InvalidField(kField, "does not say what it is, and what it holds fits no kind of tokenizer");
  return InvalidField(kField, absl::StrCat("is ", Quoted(type), "; only WordPiece, BPE and Unigram are read"));
}

bool ReadFlag(ObjectReader& reader, const char* key, bool absent) {
  const Json* value = reader.Optional(key);
  if (value == nullptr || value->is_null()) return absent;
  if (!value->is_boolean()) {
    reader.Fail(key, "must be true or false");
    return absent;
  }
  return value->get<bool>();
}

absl::StatusOr<std::vector<std::string>> ReadVocabularyObject(const Json& vocabulary) {
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

absl::StatusOr<std::vector<AddedToken>> ReadAddedTokenList(const Json& json) {
  std::vector<AddedToken> added;
  const auto list = json.find("added_tokens");
  if (list == json.end() || list->is_null()) return added;
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
                                    {"normalized", &AddedToken::normalized}})
      token.*flag = ReadFlag(reader, key, false);
    ENGRAM_RETURN_IF_ERROR(reader.Finish());
    added.push_back(std::move(token));
  }
  return added;
}

absl::StatusOr<TokenizerJson> ReadWordPiece(const Json& json) {
  TokenizerJson out;
  ENGRAM_RETURN_IF_ERROR(ReadNormalizer(json, out.settings));
  ENGRAM_RETURN_IF_ERROR(Part(json, "pre_tokenizer", "BertPreTokenizer").status());
  ENGRAM_RETURN_IF_ERROR(ReadModel(json, out));
  ENGRAM_ASSIGN_OR_RETURN(out.settings.added, ReadAddedTokenList(json));
  ENGRAM_RETURN_IF_ERROR(ReadFrame(json, out));
  return out;
}

}  // namespace engram::tokenize
