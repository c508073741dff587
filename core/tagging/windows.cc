#include "core/tagging/windows.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"

namespace engram::tagging {
namespace {

// Gives every word to the window where it is farthest from a border. For neighbours i and i + 1 that is a threshold: a
// word at tokens [a, b) belongs to window i if e_i - b >= a - b_{i+1} (e_i: where window i ends, b_{i+1}: where the
// next one begins). Thresholds ascend with i, because beginnings and ends do.
void AssignOwners(std::span<const int64_t> offset, std::vector<WordWindow>* windows) {
  for (size_t i = 0; i + 1 < windows->size(); ++i) {
    WordWindow &left = (*windows)[i], &right = (*windows)[i + 1];
    int32_t word = right.first_word;
    while (word < left.end_word && offset[left.end_word] - offset[word + 1] >= offset[word] - offset[right.first_word])
      ++word;
    left.end_owned = right.first_owned = word;
  }
  windows->front().first_owned = 0;
  windows->back().end_owned = windows->back().end_word;
}

}  // namespace

int32_t DefaultOverlap(int32_t budget) { return std::min(128, budget / 4); }

absl::StatusOr<std::vector<WordWindow>> PlanWordWindows(std::span<const int32_t> word_tokens, int32_t budget,
                                                        int32_t overlap) {
  if (budget < 1) return InvalidField("window", "must have room for at least one token besides the special ones");
  if (overlap < 0 || overlap > budget / 2) {
    return InvalidField("overlap", absl::StrCat(overlap, " is not between 0 and half the window, ", budget / 2));
  }
  if (word_tokens.size() >= static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return InvalidField("words", "are too many for one document; split it");
  }
  const auto words = static_cast<int32_t>(word_tokens.size());
  std::vector<int64_t> offset(words + size_t{1});
  for (int32_t i = 0; i < words; ++i) {
    if (word_tokens[i] < 0) return InvalidField("words", "have a negative number of tokens");
    offset[i + 1] = offset[i] + word_tokens[i];
  }
  std::vector<WordWindow> windows;
  for (int32_t first = 0, reached = 0; reached < words;) {
    int32_t end = first;
    while (end < words && offset[end + 1] - offset[first] <= budget) ++end;
    const bool cut = end == first;
    if (cut) ++end;
    if (end == words && !cut) {
      // Full rather than short: more context for the words that only this window sees.
      const int32_t earliest = windows.empty() ? 0 : windows.back().first_word + 1;
      while (first > earliest && offset[end] - offset[first - 1] <= budget) --first;
    }
    WordWindow window;
    window.first_word = first;
    window.end_word = reached = end;
    window.tokens = static_cast<int32_t>(std::min<int64_t>(offset[end] - offset[first], budget));
    window.word_cut = cut;
    windows.push_back(window);
    // The next window reaches back by `overlap` tokens, but must have room for the word at `end`.
    const int32_t previous = first;
    first = end;
    while (first - 1 > previous && offset[end] - offset[first] < overlap) --first;
    while (end < words && first < end && offset[end + 1] - offset[first] > budget) ++first;
  }
  if (!windows.empty()) AssignOwners(offset, &windows);
  return windows;
}

}  // namespace engram::tagging
