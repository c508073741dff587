#pragma once

// A document longer than the model's window is tagged in overlapping windows of whole words; each word takes its
// prediction from the one window that owns it, the one where it is farthest from a border (the document's own ends are
// no border).

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/status.h"

namespace engram::tagging {

struct WordWindow {
  int32_t first_word = 0, end_word = 0;  // what the window encodes
  int32_t first_owned = 0,
          end_owned = 0;  // what is taken from it; the owned ranges of all windows cover every word exactly once
  int32_t tokens = 0;     // without special tokens; at most the budget
  bool word_cut = false;  // the window is one word longer than the budget: only its first `tokens` tokens are encoded
};

// `word_tokens`: number of tokens of each word (0 is allowed: a word the tokenizer drops). `budget`: the window without
// special tokens. Neighbouring windows share at least `overlap` tokens (fewer only where a word would not fit
// otherwise); the last window reaches back as far as it can. No words: no windows. INVALID_ARGUMENT (fields "window",
// "overlap", "words") if budget < 1, overlap < 0, overlap > budget / 2, or a count is negative. O(words) for overlap <=
// budget / 2.
absl::StatusOr<std::vector<WordWindow>> PlanWordWindows(std::span<const int32_t> word_tokens, int32_t budget,
                                                        int32_t overlap);

// A quarter of the window, at most 128 tokens.
int32_t DefaultOverlap(int32_t budget);

}  // namespace engram::tagging
