#pragma once

// A text of any length as windows that fit a model, for heads of whole texts: learned from and asked in the same way.

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/tokenize/tokenizer.h"

namespace engram::tokenize {

struct TextWindows {
  struct Window {
    int32_t tokens = 0;   // special ones included
    int32_t counted = 0;  // content tokens that count for this window alone; they sum to the text's
  };
  std::vector<int32_t> ids;      // of all windows, one after the other, each with special tokens of its own
  std::vector<Window> windows;   // at least one; a text that fits is one window
  std::vector<int32_t> content;  // the text's own tokens, each once, without special ones
  int64_t full_tokens = 0;       // of the text, special tokens included once
};

// Windows of at most `max_tokens`, special tokens included, that end between words. The last one begins earlier, so that
// it is not short; the tokens that it shares with the window before count once. `split_special_tokens`: as in
// EncodeOptions. Errors are the tokenizer's, and INVALID_ARGUMENT for a `max_tokens` without room beside the special
// tokens.
absl::StatusOr<TextWindows> EncodeInWindows(const Tokenizer& tokenizer, std::string_view text, int64_t max_tokens,
                                            std::optional<bool> split_special_tokens = std::nullopt);

}  // namespace engram::tokenize
