#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
#include "core/base/utf8.h"
#include "core/tokenize/tokenizer_files.h"

namespace engram::tokenize {
namespace {

using Json = nlohmann::json;

const Json* Present(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found == json.end() || found->is_null() ? nullptr : &*found;
}

absl::Status ReadFlag(const Json& json, const std::string& file, const char* key, std::optional<bool>& out) {
  const Json* value = Present(json, key);
  if (value == nullptr) return absl::OkStatus();
  if (!value->is_boolean()) return InvalidField(absl::StrCat(file, ": ", key), "must be true or false");
  out = value->get<bool>();
  return absl::OkStatus();
}

// A token is written as its text, or as an object that holds it.
absl::Status ReadToken(const Json& json, const std::string& file, const char* key, std::optional<std::string>& out) {
  const Json* value = Present(json, key);
  if (value == nullptr) return absl::OkStatus();
  const Json* text = value->is_object() ? Present(*value, "content") : value;
  if (text == nullptr || !text->is_string()) return InvalidField(absl::StrCat(file, ": ", key), "must be a token");
  out = text->get<std::string>();
  return absl::OkStatus();
}

absl::Status ReadTokens(const Json& json, const std::string& file, TokenizerSettings& out) {
  ENGRAM_RETURN_IF_ERROR(ReadToken(json, file, "unk_token", out.unknown));
  ENGRAM_RETURN_IF_ERROR(ReadToken(json, file, "cls_token", out.cls));
  ENGRAM_RETURN_IF_ERROR(ReadToken(json, file, "sep_token", out.sep));
  ENGRAM_RETURN_IF_ERROR(ReadToken(json, file, "pad_token", out.pad));
  return ReadToken(json, file, "mask_token", out.mask);
}

// How a token is found. A flag that is absent is false, as transformers writes it; but for `normalized`, whose default
// follows `special`.
absl::Status ReadMatching(const Json& json, const std::string& file, AddedToken& token) {
  std::optional<bool> single_word, lstrip, rstrip, normalized;
  for (const auto& [key, flag] :
       {std::pair{"single_word", &single_word}, {"lstrip", &lstrip}, {"rstrip", &rstrip}, {"normalized", &normalized}})
    ENGRAM_RETURN_IF_ERROR(ReadFlag(json, file, key, *flag));
  token.single_word = single_word.value_or(false);
  token.lstrip = lstrip.value_or(false);
  token.rstrip = rstrip.value_or(false);
  token.normalized = normalized.value_or(!token.special);
  return absl::OkStatus();
}

// "additional_special_tokens": ["<e1>", {"content": "<e2>", ...}]; transformers 5 calls it "extra_special_tokens".
absl::Status ReadAdditional(const Json& json, const std::string& file, std::vector<AddedToken>& tokens) {
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
    const Json* list = Present(json, key);
    if (list == nullptr || list->empty()) continue;
    const std::string field = absl::StrCat(file, ": ", key);
    if (!list->is_array() && !list->is_object()) return InvalidField(field, "must be a list of tokens");
    for (const Json& item : *list) {  // an object names its tokens; the names are for programs
      AddedToken token;
      const Json* text = item.is_object() ? Present(item, "content") : &item;
      if (text == nullptr || !text->is_string()) return InvalidField(field, "has an entry that is no token");
      token.content = text->get<std::string>();
      if (item.is_object()) ENGRAM_RETURN_IF_ERROR(ReadMatching(item, field, token));
      tokens.push_back(std::move(token));
    }
  }
  return absl::OkStatus();
}

// "added_tokens_decoder": {"103": {"content": "[MASK]", "special": true, ...}}
absl::Status ReadAddedDecoder(const Json& json, const std::string& file, std::vector<AddedToken>& added) {
  const Json* map = Present(json, "added_tokens_decoder");
  if (map == nullptr) return absl::OkStatus();
  const std::string field = file + ": added_tokens_decoder";
  if (!map->is_object()) return InvalidField(field, "must map ids to tokens");
  for (const auto& [id, token] : map->items()) {
    AddedToken entry;
    const bool whole = absl::SimpleAtoi(id, &entry.id) && entry.id >= 0 && token.is_object() &&
                       Present(token, "content") != nullptr && token["content"].is_string() &&
                       Present(token, "special") != nullptr && token["special"].is_boolean();
    if (!whole) return InvalidField(field, absl::StrCat("the entry of ", Quoted(id), " is no token"));
    entry.content = token["content"].get<std::string>();
    entry.special = token["special"].get<bool>();
    ENGRAM_RETURN_IF_ERROR(ReadMatching(token, field, entry));
    added.push_back(std::move(entry));
  }
  std::sort(added.begin(), added.end(), [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  return absl::OkStatus();
}

// Without tokenizer.json the class says how the vocabulary is used. These use it as BERT does.
absl::Status CheckClass(const Json& json, const std::string& file) {
  static const std::set<std::string> known = {
      "BertTokenizer",           "BertTokenizerFast", "DistilBertTokenizer",
      "DistilBertTokenizerFast", "ElectraTokenizer",  "ElectraTokenizerFast",
  };
  const Json* name = Present(json, "tokenizer_class");
  if (name == nullptr || (name->is_string() && known.contains(name->get<std::string>()))) return absl::OkStatus();
  return InvalidField(file + ": tokenizer_class",
                      absl::StrCat("is ", Quoted(name->is_string() ? name->get<std::string>() : "no text"),
                                   "; without tokenizer.json only BERT's tokenizers are read"));
}

}  // namespace

absl::StatusOr<TokenizerSettings> ReadTokenizerConfig(std::string_view text, bool alone) {
  const std::string file = "tokenizer_config.json";
  ENGRAM_ASSIGN_OR_RETURN(const Json json, ParseStrictObject(text, file));
  TokenizerSettings out;
  ENGRAM_RETURN_IF_ERROR(ReadFlag(json, file, "do_lower_case", out.lowercase));
  ENGRAM_RETURN_IF_ERROR(ReadFlag(json, file, "strip_accents", out.strip_accents));
  ENGRAM_RETURN_IF_ERROR(ReadFlag(json, file, "tokenize_chinese_chars", out.chinese_chars));
  ENGRAM_RETURN_IF_ERROR(ReadTokens(json, file, out));
  ENGRAM_RETURN_IF_ERROR(ReadAddedDecoder(json, file, out.added));
  ENGRAM_RETURN_IF_ERROR(ReadAdditional(json, file, out.additional_special));
  ENGRAM_RETURN_IF_ERROR(ReadFlag(json, file, "split_special_tokens", out.split_special_tokens));
  ENGRAM_RETURN_IF_ERROR(ReadFlag(json, file, "add_prefix_space", out.add_prefix_space));
  std::optional<bool> basic;
  ENGRAM_RETURN_IF_ERROR(ReadFlag(json, file, "do_basic_tokenize", basic));
  if (!basic.value_or(true)) return InvalidField(file + ": do_basic_tokenize", "only true is implemented");
  if (const Json* words = Present(json, "never_split"); words != nullptr && !words->empty())
    return InvalidField(file + ": never_split", "is not implemented; it must be empty");
  if (alone) ENGRAM_RETURN_IF_ERROR(CheckClass(json, file));
  return out;
}

absl::StatusOr<TokenizerSettings> ReadSpecialTokensMap(std::string_view text) {
  const std::string file = "special_tokens_map.json";
  ENGRAM_ASSIGN_OR_RETURN(const Json json, ParseStrictObject(text, file));
  TokenizerSettings out;
  ENGRAM_RETURN_IF_ERROR(ReadTokens(json, file, out));
  ENGRAM_RETURN_IF_ERROR(ReadAdditional(json, file, out.additional_special));
  return out;
}

absl::StatusOr<TokenizerSettings> ReadAddedTokens(std::string_view text) {
  const std::string file = "added_tokens.json";
  ENGRAM_ASSIGN_OR_RETURN(const Json json, ParseStrictObject(text, file));
  TokenizerSettings out;
  for (const auto& [token, id] : json.items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > kMaxTokens)
      return InvalidField(absl::StrCat(file, ": ", Quoted(token)), "must have an id");
    out.added.push_back({.id = id.get<int64_t>(), .content = token});
  }
  std::sort(out.added.begin(), out.added.end(), [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  return out;
}

absl::StatusOr<std::vector<std::string>> ReadVocabularyFile(std::string_view text) {
  std::vector<std::string> tokens;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    tokens.emplace_back(line);
    if (FindInvalidUtf8(line)) return InvalidField(absl::StrCat("vocab.txt line ", tokens.size()), "is not UTF-8");
    if (tokens.size() > kMaxTokens)
      return InvalidField("vocab.txt", absl::StrCat("has more than ", kMaxTokens, " tokens"));
    begin = end + 1;
  }
  if (tokens.empty()) return InvalidField("vocab.txt", "holds no tokens");
  return tokens;
}

}  // namespace engram::tokenize
