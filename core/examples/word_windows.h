#pragma once

// Texts of words as a tagger gets them: windows of whole words (core/tagging/windows.h), tokenized, and which tokens
// stand for which words. Training, measuring and serving all tag through here, so that a word is judged by the same
// token in each of them.

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/tagging/aggregation.h"
#include "core/tagging/bio.h"
#include "core/tokenize/tokenizer.h"

namespace engram::examples {

// One (token of the window, word of the text) per word that the window owns and the tokenizer knows: the word's first
// token. Ascending in both.
using WordRows = std::vector<std::pair<int32_t, int32_t>>;

struct WordWindow {
  std::vector<int32_t> ids;     // special tokens included
  WordRows rows;                // may be empty: a window whose own words the tokenizer drops
  std::vector<int32_t> pieces;  // for each row: how many tokens the word has here, one behind the other
};

struct WordWindows {
  std::vector<WordWindow> windows;  // in the order of the text; those without any token are left out
  int32_t planned = 0;              // how many windows the words make, those without any token included
  std::vector<int32_t> ids;         // tokens of all words, special tokens left out
  bool word_cut = false;            // a single word is longer than a window: its end is lost
};

// `max_length`: of a window in tokens, special tokens included. Every word is in the rows of exactly one window, unless
// the tokenizer drops it. INVALID_ARGUMENT for words that are not UTF-8 and for a max_length without room for a token.
// `split_special_tokens`: as in tokenize::EncodeOptions.
absl::StatusOr<WordWindows> EncodeWordWindows(std::span<const std::string_view> words, int64_t max_length,
                                              const tokenize::Tokenizer& tokenizer,
                                              std::optional<bool> split_special_tokens = std::nullopt);

// Logits [words, tags] of one text, put together from its windows. A word that no window has (the tokenizer drops it)
// is outside of every entity: O, without a doubt; of tags without an O it has none (minus infinity). Not thread-safe.
class WordLogits {
 public:
  WordLogits(size_t words, const tagging::TagSet& tags);

  // `logits`: fp32 [tokens of the window, tags] row-major. A word is what its first token is.
  void Take(const WordRows& rows, const float* logits);
  // The same with all of a word's tokens put together; `pieces` as WordWindow has them.
  void Take(const WordRows& rows, std::span<const int32_t> pieces, tagging::Aggregation aggregation,
            const float* logits);
  // [words, tags] row-major.
  const std::vector<float>& values() const { return values_; }

 private:
  size_t tags_;
  std::vector<float> values_;
};

}  // namespace engram::examples
