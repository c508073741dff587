#pragma once

// Where the windows lie that a long text is read in.

#include <cstdint>
#include <vector>

namespace engram::tokenize {

// Content tokens [begin, end) are read at once; those of [first_owned, end_owned) count for this window alone.
struct TokenWindow {
  int64_t begin = 0, end = 0;
  int64_t first_owned = 0, end_owned = 0;

  int64_t tokens() const { return end - begin; }
  int64_t owned() const { return end_owned - first_owned; }
};

// What becomes of the last window where fewer tokens are left than fit: kShort reads them alone, kShifted begins earlier,
// so that it is as full as the words allow, and the tokens before them are read once more.
enum class LastWindow { kShort, kShifted };

// Windows of at most `budget` tokens that together hold all of `words.size()` tokens; words[i] is the word of token i.
// A window ends between two words where that leaves it at least half full; neighbours share `overlap` tokens, at most
// half of the budget. Owned tokens partition all tokens: a shared one belongs to the window in which it is farther from
// the border, the left one where both are alike.
std::vector<TokenWindow> PlanTokenWindows(const std::vector<int32_t>& words, int64_t budget, int64_t overlap,
                                          LastWindow last = LastWindow::kShort);

}  // namespace engram::tokenize
