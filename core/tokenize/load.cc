#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/strict_json.h"
#include "core/tokenize/bert_tokenizer.h"
#include "core/tokenize/tokenizer_files.h"

namespace engram::tokenize {
namespace {

template <typename T>
struct Setting {
  const char* key;  // as tokenizer_config.json and special_tokens_map.json write it
  std::optional<T> TokenizerSettings::*member;
};
constexpr Setting<bool> kFlags[] = {{"do_lower_case", &TokenizerSettings::lowercase},
                                    {"strip_accents", &TokenizerSettings::strip_accents},
                                    {"tokenize_chinese_chars", &TokenizerSettings::chinese_chars}};
constexpr Setting<std::string> kTokens[] = {{"unk_token", &TokenizerSettings::unknown},
                                            {"cls_token", &TokenizerSettings::cls},
                                            {"sep_token", &TokenizerSettings::sep},
                                            {"pad_token", &TokenizerSettings::pad},
                                            {"mask_token", &TokenizerSettings::mask}};

// Adds what `file` says to what the files before it said.
absl::Status Merge(const std::string& file, const TokenizerSettings& from, TokenizerSettings& into) {
  const auto merge = [&](const auto& setting) -> absl::Status {
    const auto& said = from.*setting.member;
    auto& known = into.*setting.member;
    if (said && known && *said != *known) {
      return InvalidField(absl::StrCat(file, ": ", setting.key),
                          "contradicts the tokenizer's other files; make them agree");
    }
    if (said) known = said;
    return absl::OkStatus();
  };
  for (const auto& flag : kFlags) ENGRAM_RETURN_IF_ERROR(merge(flag));
  for (const auto& token : kTokens) ENGRAM_RETURN_IF_ERROR(merge(token));
  into.added.insert(into.added.end(), from.added.begin(), from.added.end());
  return absl::OkStatus();
}

// An added token is found in the raw text before anything else. Only special ones are, and only if asked for
// (EncodeOptions), so that all of them must be special tokens of the vocabulary.
absl::Status CheckAdded(const std::vector<AddedToken>& added, const std::vector<std::string>& vocabulary) {
  for (const AddedToken& token : added) {
    const auto id = static_cast<size_t>(token.id);
    if (token.special && id < vocabulary.size() && vocabulary[id] == token.content) continue;
    return InvalidField("added_tokens", absl::StrCat(Quoted(token.content), " with id ", token.id,
                                                     " is not a special token of the vocabulary"));
  }
  return absl::OkStatus();
}

BertTokenizerOptions ToOptions(const TokenizerSettings& settings) {
  BertTokenizerOptions options;
  options.normalizer.clean_text = settings.clean_text.value_or(true);
  options.normalizer.lowercase = settings.lowercase.value_or(true);
  options.normalizer.strip_accents = settings.strip_accents.value_or(options.normalizer.lowercase);
  options.normalizer.chinese_chars = settings.chinese_chars.value_or(true);
  options.unknown = settings.unknown.value_or(options.unknown);
  options.cls = settings.cls.value_or(options.cls);
  options.sep = settings.sep.value_or(options.sep);
  options.pad = settings.pad.value_or(options.pad);
  options.mask = settings.mask.value_or(options.mask);
  options.continuation_prefix = settings.continuation_prefix.value_or(options.continuation_prefix);
  options.max_characters_per_word = settings.max_characters_per_word.value_or(options.max_characters_per_word);
  for (const AddedToken& token : settings.added) options.added_special.push_back(token.content);
  return options;
}

absl::Status CheckSameVocabulary(const std::vector<std::string>& json, const std::vector<std::string>& file) {
  const auto [a, b] = std::mismatch(json.begin(), json.end(), file.begin(), file.end());
  if (a == json.end() && b == file.end()) return absl::OkStatus();
  return InvalidField(absl::StrCat("vocab.txt line ", b - file.begin() + 1),
                      "contradicts the vocabulary of tokenizer.json; remove one of the files");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> ParseTokenizer(const TokenizerTexts& texts) {
  TokenizerSettings settings;
  std::vector<std::string> vocabulary;
  if (texts.tokenizer_json) {
    ENGRAM_ASSIGN_OR_RETURN(TokenizerJson json, ReadTokenizerJson(*texts.tokenizer_json));
    settings = std::move(json.settings);
    vocabulary = std::move(json.vocabulary);
  }
  if (texts.vocabulary) {
    ENGRAM_ASSIGN_OR_RETURN(std::vector<std::string> tokens, ReadVocabularyFile(*texts.vocabulary));
    if (texts.tokenizer_json) ENGRAM_RETURN_IF_ERROR(CheckSameVocabulary(vocabulary, tokens));
    vocabulary = std::move(tokens);
  }
  if (vocabulary.empty()) return InvalidField("tokenizer", "neither tokenizer.json nor vocab.txt is there");
  if (texts.tokenizer_config) {
    ENGRAM_ASSIGN_OR_RETURN(const TokenizerSettings said,
                            ReadTokenizerConfig(*texts.tokenizer_config, !texts.tokenizer_json.has_value()));
    ENGRAM_RETURN_IF_ERROR(Merge("tokenizer_config.json", said, settings));
  }
  if (texts.special_tokens_map) {
    ENGRAM_ASSIGN_OR_RETURN(const TokenizerSettings said, ReadSpecialTokensMap(*texts.special_tokens_map));
    ENGRAM_RETURN_IF_ERROR(Merge("special_tokens_map.json", said, settings));
  }
  if (texts.added_tokens) {
    ENGRAM_ASSIGN_OR_RETURN(const TokenizerSettings said, ReadAddedTokens(*texts.added_tokens));
    ENGRAM_RETURN_IF_ERROR(Merge("added_tokens.json", said, settings));
  }
  ENGRAM_RETURN_IF_ERROR(CheckAdded(settings.added, vocabulary));
  return BertTokenizer::Create(std::move(vocabulary), ToOptions(settings));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& directory) {
  TokenizerTexts texts;
  for (const auto& [name, text] : {std::pair{"tokenizer.json", &texts.tokenizer_json},
                                   {"vocab.txt", &texts.vocabulary},
                                   {"tokenizer_config.json", &texts.tokenizer_config},
                                   {"special_tokens_map.json", &texts.special_tokens_map},
                                   {"added_tokens.json", &texts.added_tokens}}) {
    const std::string path = absl::StrCat(directory, "/", name);
    if (!PathExists(path)) continue;
    absl::StatusOr<std::string> content = ReadFile(path, kMaxTokenizerFile);
    if (!content.ok()) return Annotate(content.status(), name);
    *text = *std::move(content);
  }
  return ParseTokenizer(texts);
}

}  // namespace engram::tokenize
