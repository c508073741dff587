#include "core/tokenize/token_windows.h"

#include <algorithm>

namespace engram::tokenize {
namespace {

bool BeginsWord(const std::vector<int32_t>& words, int64_t at) {
  return at == 0 || words[static_cast<size_t>(at)] != words[static_cast<size_t>(at) - 1];
}

// The last position in (low, high] where a word begins; `high` if there is none.
int64_t WordBoundary(const std::vector<int32_t>& words, int64_t low, int64_t high) {
  for (int64_t at = high; at > low; --at) {
    if (BeginsWord(words, at)) return at;
  }
  return high;
}

// Moves the last window's begin to the left: not before its left neighbour's, and to where a word begins.
void Shift(const std::vector<int32_t>& words, int64_t budget, std::vector<TokenWindow>& windows) {
  TokenWindow& last = windows.back();
  int64_t begin = std::max(last.end - budget, windows[windows.size() - 2].begin + 1);
  while (begin < last.begin && !BeginsWord(words, begin)) ++begin;
  last.begin = std::min(last.begin, begin);
}

}  // namespace

std::vector<TokenWindow> PlanTokenWindows(const std::vector<int32_t>& words, int64_t budget, int64_t overlap,
                                          LastWindow last) {
  const auto tokens = static_cast<int64_t>(words.size());
  std::vector<TokenWindow> windows;
  for (int64_t begin = 0; begin < tokens;) {
    TokenWindow window{begin, std::min(tokens, begin + budget), begin, 0};
    if (window.end < tokens) window.end = WordBoundary(words, begin + std::max(budget / 2, overlap), window.end);
    windows.push_back(window);
    if (window.end == tokens) break;
    begin = window.end - overlap;
  }
  if (last == LastWindow::kShifted && windows.size() > 1) Shift(words, budget, windows);
  // The overlap is halved.
  for (size_t i = 0; i < windows.size(); ++i) {
    const bool at_end = i + 1 == windows.size();
    windows[i].end_owned = at_end ? windows[i].end : (windows[i].end + windows[i + 1].begin + 1) / 2;
    if (!at_end) windows[i + 1].first_owned = windows[i].end_owned;
  }
  return windows;
}

}  // namespace engram::tokenize
