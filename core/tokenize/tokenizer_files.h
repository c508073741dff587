#pragma once

// What each file of a tokenizer says. load.cc holds the files against each other; here each is read alone.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/tokenize/added_tokens.h"
#include "core/tokenize/framed_tokenizer.h"
#include "nlohmann/json_fwd.hpp"

namespace engram::tokenize {

// nullopt: the file says nothing about it.
struct TokenizerSettings {
  std::optional<bool> clean_text, lowercase, strip_accents, chinese_chars;
  std::optional<std::string> unknown, cls, sep, pad, mask, continuation_prefix;
  std::optional<int64_t> max_characters_per_word;
  std::optional<bool> split_special_tokens, add_prefix_space;
  std::vector<AddedToken> added;               // in the order of their ids
  std::vector<AddedToken> additional_special;  // named without an id
};

struct TokenizerJson {
  TokenizerSettings settings;
  std::vector<std::string> vocabulary;  // token of each id
  std::optional<Template> frame;
};

// All: INVALID_ARGUMENT naming file and key for what is not understood or would tokenize otherwise than BertTokenizer.
// tokenizer.json: its padding and truncation are settings of whoever calls the tokenizer and are not read.
absl::StatusOr<TokenizerJson> ReadWordPiece(const nlohmann::json& json);
// tokenizer_config.json: of its keys those are read that decide how a text is taken apart. `alone`: there is no
// tokenizer.json, so that the class it names decides, too.
absl::StatusOr<TokenizerSettings> ReadTokenizerConfig(std::string_view text, bool alone);
absl::StatusOr<TokenizerSettings> ReadSpecialTokensMap(std::string_view text);
// added_tokens.json: texts and ids alone; whether they are special is for the other files to say.
absl::StatusOr<TokenizerSettings> ReadAddedTokens(std::string_view text);
// vocab.txt: one token per line, the line's number (from 0) is its id.
absl::StatusOr<std::vector<std::string>> ReadVocabularyFile(std::string_view text);

// Bounds of what is read.
inline constexpr size_t kMaxTokenizerFile = size_t{1} << 26;
inline constexpr size_t kMaxTokens = 1'000'000;

}  // namespace engram::tokenize
