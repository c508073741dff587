#pragma once

// The regular expressions with which byte-level tokenizers cut a text into pieces, written out: one pass, no
// backtracking, equal to the expressions on every text (tests/parity/test_piece_tokenizers.py).

#include <cstddef>
#include <optional>
#include <string_view>

namespace engram::tokenize {

enum class SplitPattern {
  kGpt2,    // contractions, then runs of letters, of numbers and of others, each with one space before it
  kLlama3,  // contractions in any case, one other character before letters, numbers by three, line ends by themselves
  kQwen2,   // the same, numbers one by one
};

// The pattern with this expression, as tokenizer.json writes it; nullopt for any other.
std::optional<SplitPattern> FindSplitPattern(std::string_view expression);

// The end of the piece that begins at `at` < text.size(); `text` is valid UTF-8.
size_t PieceEnd(SplitPattern pattern, std::string_view text, size_t at);

}  // namespace engram::tokenize
