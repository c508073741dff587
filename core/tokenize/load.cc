#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/tokenize/bert_tokenizer.h"
#include "nlohmann/json.hpp"

namespace engram::tokenize {
namespace {

using Json = nlohmann::json;
constexpr size_t kMaxFile = size_t{1} << 28;
constexpr size_t kMaxTokens = 4'000'000;

absl::StatusOr<Json> ReadJson(const std::string& path, const std::string& name) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFile));
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object()) return InvalidField(name, "is not a JSON object");
  return json;
}

// A boolean that may be absent or null.
absl::Status Flag(const Json& json, const char* key, bool absent, bool& out) {
  out = absent;
  if (!json.contains(key) || json[key].is_null()) return absl::OkStatus();
  if (!json[key].is_boolean()) return InvalidField(key, "must be true or false");
  out = json[key].get<bool>();
  return absl::OkStatus();
}

absl::Status RequireType(const Json& json, const char* key, const char* type) {
  if (json.contains(key) && json[key].is_object() && json[key].value("type", Json()) == type) return absl::OkStatus();
  return InvalidField(absl::StrCat("tokenizer.json: ", key), absl::StrCat("only ", type, " is read"));
}

// strip_accents null follows lowercase, as in the reference.
absl::Status ReadNormalizer(const Json& json, const char* lowercase_key, const char* chinese_key,
                            BertNormalizerOptions& options) {
  ENGRAM_RETURN_IF_ERROR(Flag(json, lowercase_key, true, options.lowercase));
  ENGRAM_RETURN_IF_ERROR(Flag(json, chinese_key, true, options.chinese_chars));
  return Flag(json, "strip_accents", options.lowercase, options.strip_accents);
}

absl::StatusOr<std::vector<std::string>> ReadVocabulary(const Json& vocabulary) {
  if (!vocabulary.is_object() || vocabulary.empty() || vocabulary.size() > kMaxTokens)
    return InvalidField("tokenizer.json: model.vocab", "must map tokens to ids");
  std::vector<std::string> tokens(vocabulary.size());
  std::vector<bool> seen(vocabulary.size());
  for (const auto& [token, id] : vocabulary.items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= tokens.size() || seen[id.get<uint64_t>()]) {
      return InvalidField("tokenizer.json: model.vocab",
                          absl::StrCat("the id of \"", token, "\" is repeated or leaves a hole"));
    }
    seen[id.get<uint64_t>()] = true;
    tokens[id.get<uint64_t>()] = token;
  }
  return tokens;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> FromTokenizerJson(const std::string& directory) {
  ENGRAM_ASSIGN_OR_RETURN(const Json json, ReadJson(directory + "/tokenizer.json", "tokenizer.json"));
  ENGRAM_RETURN_IF_ERROR(RequireType(json, "model", "WordPiece"));
  ENGRAM_RETURN_IF_ERROR(RequireType(json, "normalizer", "BertNormalizer"));
  ENGRAM_RETURN_IF_ERROR(RequireType(json, "pre_tokenizer", "BertPreTokenizer"));
  const Json& model = json["model"];
  BertTokenizerOptions options;
  ENGRAM_RETURN_IF_ERROR(ReadNormalizer(json["normalizer"], "lowercase", "handle_chinese_chars", options.normalizer));
  ENGRAM_RETURN_IF_ERROR(Flag(json["normalizer"], "clean_text", true, options.normalizer.clean_text));
  options.unknown = model.value("unk_token", options.unknown);
  options.continuation_prefix = model.value("continuing_subword_prefix", options.continuation_prefix);
  options.max_characters_per_word = model.value("max_input_chars_per_word", options.max_characters_per_word);
  ENGRAM_ASSIGN_OR_RETURN(std::vector<std::string> tokens, ReadVocabulary(model.value("vocab", Json())));
  for (const Json& added : json.value("added_tokens", Json::array())) {
    const uint64_t id = added.value("id", uint64_t{0});
    const std::string content = added.value("content", std::string());
    if (id >= tokens.size() || tokens[id] != content || !added.value("special", false)) {
      return InvalidField("tokenizer.json: added_tokens",
                          absl::StrCat("\"", content, "\" is not a special token of the vocabulary"));
    }
  }
  return BertTokenizer::Create(std::move(tokens), options);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> FromVocabulary(const std::string& directory) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string text, ReadFile(directory + "/vocab.txt", kMaxFile));
  BertTokenizerOptions options;
  if (PathExists(directory + "/tokenizer_config.json")) {
    ENGRAM_ASSIGN_OR_RETURN(const Json json, ReadJson(directory + "/tokenizer_config.json", "tokenizer_config.json"));
    ENGRAM_RETURN_IF_ERROR(ReadNormalizer(json, "do_lower_case", "tokenize_chinese_chars", options.normalizer));
  }
  std::vector<std::string> tokens;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    tokens.push_back(text.substr(begin, end - begin));
    if (!tokens.back().empty() && tokens.back().back() == '\r') tokens.back().pop_back();
    begin = end + 1;
  }
  if (tokens.empty() || tokens.size() > kMaxTokens) return InvalidField("vocab.txt", "holds no tokens, or too many");
  return BertTokenizer::Create(std::move(tokens), options);
}

constexpr const char* kFiles[] = {"tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& directory) {
  if (PathExists(directory + "/tokenizer.json")) return FromTokenizerJson(directory);
  if (PathExists(directory + "/vocab.txt")) return FromVocabulary(directory);
  return InvalidField("tokenizer", "neither tokenizer.json nor vocab.txt is there");
}

std::vector<std::string> TokenizerFiles(const std::string& directory) {
  std::vector<std::string> found;
  for (const char* name : kFiles) {
    if (PathExists(directory + "/" + name)) found.push_back(name);
  }
  return found;
}

}  // namespace engram::tokenize
