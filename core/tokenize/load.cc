#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/tokenize/bert_tokenizer.h"
#include "core/tokenize/tokenizer_files.h"
#include "core/tokenize/tokenizer_json.h"

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
  if (from.split_special_tokens) into.split_special_tokens = from.split_special_tokens;
  into.additional_special.insert(into.additional_special.end(), from.additional_special.begin(),
                                 from.additional_special.end());
  return absl::OkStatus();
}

// Which of two files' descriptions of the same token differ; empty if none do.
std::string_view Difference(const AddedToken& a, const AddedToken& b) {
  return a.id != b.id                     ? "id"
         : a.special != b.special         ? "special"
         : a.single_word != b.single_word ? "single_word"
         : a.lstrip != b.lstrip           ? "lstrip"
         : a.rstrip != b.rstrip           ? "rstrip"
         : a.normalized != b.normalized   ? "normalized"
                                          : "";
}

// The added tokens of all files, each once.
class AddedTokenList {
 public:
  // What a file that describes its tokens in full says.
  absl::Status Describe(const std::string& file, const std::vector<AddedToken>& tokens) {
    for (const AddedToken& token : tokens) {
      const AddedToken* known = Find(token.content);
      if (known == nullptr) {
        Add(token);
      } else if (const std::string_view key = Difference(*known, token); !key.empty()) {
        return InvalidField(absl::StrCat(file, ": added_tokens"),
                            absl::StrCat("contradicts the tokenizer's other files on the ", AbslView(key), " of ",
                                         Quoted(token.content), "; make them agree"));
      }
    }
    return absl::OkStatus();
  }
  // What added_tokens.json says: a token that is not special is found in normalized text (transformers).
  absl::Status Number(std::vector<AddedToken> tokens, const std::set<std::string>& special) {
    for (AddedToken& token : tokens) {
      token.special = special.contains(token.content);
      token.normalized = !token.special;
      if (const AddedToken* known = Find(token.content); known == nullptr) {
        Add(std::move(token));
      } else if (known->id != token.id) {
        return InvalidField("added_tokens.json", absl::StrCat("contradicts the tokenizer's other files on the id of ",
                                                              Quoted(token.content), "; make them agree"));
      }
    }
    return absl::OkStatus();
  }
  // Special tokens without an id: that of the vocabulary, else the next free one if it may be new.
  void Name(const std::vector<AddedToken>& tokens, const std::vector<std::string>& vocabulary, bool may_be_new) {
    for (AddedToken token : tokens) {
      if (Find(token.content) != nullptr) continue;
      const auto at = std::find(vocabulary.begin(), vocabulary.end(), token.content);
      if (at == vocabulary.end() && !may_be_new) continue;
      token.id = at - vocabulary.begin();
      if (at == vocabulary.end()) {
        for (const AddedToken& other : tokens_) token.id = std::max(token.id, other.id + 1);
      }
      Add(std::move(token));
    }
  }
  std::vector<AddedToken> Take() { return std::move(tokens_); }

 private:
  const AddedToken* Find(const std::string& content) const {
    const auto at = index_.find(content);
    return at == index_.end() ? nullptr : &tokens_[at->second];
  }
  void Add(AddedToken token) {
    index_.emplace(token.content, tokens_.size());
    tokens_.push_back(std::move(token));
  }

  std::vector<AddedToken> tokens_;
  std::map<std::string, size_t> index_;
};

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
  options.split_special_tokens = settings.split_special_tokens.value_or(false);
  return options;
}

// transformers takes add_prefix_space from tokenizer_config.json, tokenizers from tokenizer.json.
absl::Status CheckPrefixSpace(const TokenizerSettings& said, const PieceTokenizerOptions& options) {
  for (const PreTokenizerStep& step : options.pre_tokenizers) {
    const auto* pattern = std::get_if<CutByPattern>(&step);
    if (pattern == nullptr || !pattern->add_prefix_space || !said.add_prefix_space) continue;
    if (*pattern->add_prefix_space != *said.add_prefix_space)
      return InvalidField("tokenizer_config.json: add_prefix_space",
                          absl::StrCat("is ", *said.add_prefix_space ? "true" : "false", " and tokenizer.json has ",
                                       *pattern->add_prefix_space ? "true" : "false", "; make them agree"));
  }
  return absl::OkStatus();
}

absl::Status CheckSameVocabulary(const std::vector<std::string>& json, const std::vector<std::string>& file) {
  const auto [a, b] = std::mismatch(json.begin(), json.end(), file.begin(), file.end());
  if (a == json.end() && b == file.end()) return absl::OkStatus();
  return InvalidField(absl::StrCat("vocab.txt line ", b - file.begin() + 1),
                      "contradicts the vocabulary of tokenizer.json; remove one of the files");
}

// tokenizer.json decides how a text is taken apart; the files beside it say which of its tokens is which.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakePieceTokenizer(const nlohmann::json& json, const TokenizerTexts& texts) {
  ENGRAM_ASSIGN_OR_RETURN(PieceTokenizerOptions options, ReadPieceTokenizer(json));
  AddedTokenList added;
  ENGRAM_RETURN_IF_ERROR(added.Describe("tokenizer.json", options.added));
  TokenizerSettings settings;
  if (texts.tokenizer_config) {
    ENGRAM_ASSIGN_OR_RETURN(const TokenizerSettings said, ReadTokenizerConfig(*texts.tokenizer_config, false));
    ENGRAM_RETURN_IF_ERROR(Merge("tokenizer_config.json", said, settings));
    ENGRAM_RETURN_IF_ERROR(added.Describe("tokenizer_config.json", said.added));
    ENGRAM_RETURN_IF_ERROR(CheckPrefixSpace(said, options));
  }
  if (texts.special_tokens_map) {
    ENGRAM_ASSIGN_OR_RETURN(const TokenizerSettings said, ReadSpecialTokensMap(*texts.special_tokens_map));
    ENGRAM_RETURN_IF_ERROR(Merge("special_tokens_map.json", said, settings));
  }
  std::vector<AddedToken> named;
  for (const auto& [said, token] : {std::pair{&settings.unknown, &options.unknown},
                                    {&settings.cls, &options.cls},
                                    {&settings.sep, &options.sep},
                                    {&settings.pad, &options.pad},
                                    {&settings.mask, &options.mask}}) {
    if (!*said) continue;
    *token = **said;
    named.push_back({.content = *token});
  }
  if (texts.added_tokens) {
    ENGRAM_ASSIGN_OR_RETURN(TokenizerSettings said, ReadAddedTokens(*texts.added_tokens));
    std::set<std::string> special;
    for (const std::vector<AddedToken>* tokens : {&std::as_const(named), &std::as_const(settings.additional_special)}) {
      for (const AddedToken& token : *tokens) special.insert(token.content);
    }
    ENGRAM_RETURN_IF_ERROR(added.Number(std::move(said.added), special));
  }
  added.Name(named, options.model->tokens(), /*may_be_new=*/false);
  added.Name(settings.additional_special, options.model->tokens(), /*may_be_new=*/true);
  options.added = added.Take();
  options.split_special_tokens = settings.split_special_tokens.value_or(false);
  return PieceTokenizer::Create(std::move(options));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> ParseTokenizer(const TokenizerTexts& texts) {
  TokenizerSettings settings;
  std::vector<std::string> vocabulary;
  std::optional<Template> frame;
  if (texts.tokenizer_json) {
    ENGRAM_ASSIGN_OR_RETURN(const nlohmann::json parsed, ParseTokenizerJson(*texts.tokenizer_json));
    ENGRAM_ASSIGN_OR_RETURN(const std::string type, ModelTypeOf(parsed));
    if (type != "WordPiece") return MakePieceTokenizer(parsed, texts);
    ENGRAM_ASSIGN_OR_RETURN(TokenizerJson json, ReadWordPiece(parsed));
    settings = std::move(json.settings);
    vocabulary = std::move(json.vocabulary);
    frame = std::move(json.frame);
  }
  if (texts.vocabulary) {
    ENGRAM_ASSIGN_OR_RETURN(std::vector<std::string> tokens, ReadVocabularyFile(*texts.vocabulary));
    if (texts.tokenizer_json) ENGRAM_RETURN_IF_ERROR(CheckSameVocabulary(vocabulary, tokens));
    vocabulary = std::move(tokens);
  }
  if (vocabulary.empty()) {
    return InvalidField("tokenizer",
                        "neither tokenizer.json nor vocab.txt is there; vocab.json with merges.txt, and "
                        "SentencePiece's .model, are not "
                        "read by themselves: transformers makes a tokenizer.json of them "
                        "(AutoTokenizer.from_pretrained(DIRECTORY).save_pretrained(DIRECTORY))");
  }
  AddedTokenList added;
  ENGRAM_RETURN_IF_ERROR(added.Describe("tokenizer.json", settings.added));
  if (texts.tokenizer_config) {
    ENGRAM_ASSIGN_OR_RETURN(const TokenizerSettings said,
                            ReadTokenizerConfig(*texts.tokenizer_config, !texts.tokenizer_json.has_value()));
    ENGRAM_RETURN_IF_ERROR(Merge("tokenizer_config.json", said, settings));
    ENGRAM_RETURN_IF_ERROR(added.Describe("tokenizer_config.json", said.added));
  }
  if (texts.special_tokens_map) {
    ENGRAM_ASSIGN_OR_RETURN(const TokenizerSettings said, ReadSpecialTokensMap(*texts.special_tokens_map));
    ENGRAM_RETURN_IF_ERROR(Merge("special_tokens_map.json", said, settings));
  }
  BertTokenizerOptions options = ToOptions(settings);
  const std::vector<AddedToken> five = {{.content = options.unknown},
                                        {.content = options.cls},
                                        {.content = options.sep},
                                        {.content = options.pad},
                                        {.content = options.mask}};
  if (texts.added_tokens) {
    ENGRAM_ASSIGN_OR_RETURN(TokenizerSettings said, ReadAddedTokens(*texts.added_tokens));
    std::set<std::string> special;
    for (const std::vector<AddedToken>* tokens : {&five, &std::as_const(settings.additional_special)}) {
      for (const AddedToken& token : *tokens) special.insert(token.content);
    }
    ENGRAM_RETURN_IF_ERROR(added.Number(std::move(said.added), special));
  }
  // tokenizer.json alone says all that there is to find in a text; beside files of transformers, or without it, these
  // are found, too.
  if (!texts.tokenizer_json || texts.tokenizer_config || texts.special_tokens_map) {
    added.Name(five, vocabulary, /*may_be_new=*/false);
    added.Name(settings.additional_special, vocabulary, /*may_be_new=*/true);
  }
  options.added = added.Take();
  options.frame = std::move(frame);
  return BertTokenizer::Create(std::move(vocabulary), options);
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
