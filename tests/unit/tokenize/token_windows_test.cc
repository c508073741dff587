#include "core/tokenize/token_windows.h"

#include <algorithm>
#include <vector>

#include "core/base/random.h"
#include "gtest/gtest.h"

namespace engram::tokenize {
namespace {

TEST(TokenWindows, PartitionTheTokensAndEndBetweenWords) {
  RandomStream random(1, RandomPurpose::kSubset, 0);
  for (int round = 0; round < 50; ++round) {
    std::vector<int32_t> words;
    int32_t word = 0;
    const uint64_t length = 1 + random.NextBelow(300);
    for (uint64_t i = 0; i < length; ++i) words.push_back(word += random.NextBelow(3) == 0 ? 0 : 1);
    const auto overlap = static_cast<int64_t>(random.NextBelow(11));
    const LastWindow last = round % 2 == 0 ? LastWindow::kShort : LastWindow::kShifted;
    const std::vector<TokenWindow> windows = PlanTokenWindows(words, 20, overlap, last);
    int64_t owned = 0;
    for (size_t i = 0; i < windows.size(); ++i) {
      const TokenWindow& w = windows[i];
      EXPECT_EQ(w.first_owned, owned);
      EXPECT_LE(w.begin, w.first_owned);
      EXPECT_LE(w.end_owned, w.end);
      EXPECT_LE(w.end - w.begin, 20);
      const bool before_last = i + 2 == windows.size();
      EXPECT_TRUE(i + 1 == windows.size() || windows[i + 1].begin == w.end - overlap ||
                  (before_last && last == LastWindow::kShifted && windows[i + 1].begin < w.end - overlap));
      owned = w.end_owned;
    }
    EXPECT_EQ(owned, static_cast<int64_t>(words.size()));
  }
}

TEST(TokenWindows, PreferTheEndOfAWord) {
  // Words of 3 tokens, a budget of 10: three whole words per chunk.
  std::vector<int32_t> words;
  for (int32_t i = 0; i < 30; ++i) words.push_back(i / 3);
  for (const TokenWindow& w : PlanTokenWindows(words, 10, 0)) EXPECT_EQ(w.begin % 3, 0);
}

// Of words of one token the last window is as full as the others; of a text of one window there is nothing to shift.
TEST(TokenWindows, TheLastOneIsShiftedNotShort) {
  for (int32_t length = 1; length < 100; ++length) {
    std::vector<int32_t> words;
    for (int32_t i = 0; i < length; ++i) words.push_back(i);
    const std::vector<TokenWindow> windows = PlanTokenWindows(words, 20, 4, LastWindow::kShifted);
    EXPECT_EQ(windows.back().tokens(), std::min(length, 20));
    EXPECT_EQ(windows.size(), PlanTokenWindows(words, 20, 4).size());
  }
  // Words of 3: it begins with a word.
  std::vector<int32_t> words;
  for (int32_t i = 0; i < 30; ++i) words.push_back(i / 3);
  const std::vector<TokenWindow> windows = PlanTokenWindows(words, 10, 0, LastWindow::kShifted);
  EXPECT_EQ(windows.back().begin, 21);
  EXPECT_EQ(windows.back().end, 30);
}

}  // namespace
}  // namespace engram::tokenize
