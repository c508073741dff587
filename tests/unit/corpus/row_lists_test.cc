#include "core/corpus/row_lists.h"

#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::corpus {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

TEST(AscendingNumbers, AreThemselvesBeyondFourGigabytes) {
  constexpr uint64_t kWrap = uint64_t{1} << 32;
  const std::vector<uint64_t> numbers = {0,     0,         7,         kWrap - 1, kWrap,
                                         kWrap, kWrap + 3, 4 * kWrap, 4 * kWrap, 4 * kWrap + 1};
  AscendingNumbers list;
  for (const uint64_t number : numbers) list.push_back(number);
  ASSERT_EQ(list.size(), numbers.size());
  for (size_t i = 0; i < numbers.size(); ++i) EXPECT_EQ(list[i], numbers[i]) << i;
  list.clear();
  list.push_back(2);
  EXPECT_EQ(list[0], 2U);
}

TEST(TextList, IsAListOfTexts) {
  TextList list = {"a", "", "long enough not to be short"};
  EXPECT_THAT(list, ElementsAre("a", "", "long enough not to be short"));
  list.push_back("b");
  EXPECT_EQ(list[3], "b");
  EXPECT_EQ(list.front(), "a");
  list.clear();
  EXPECT_TRUE(list.empty());
  list.push_back("c");
  EXPECT_THAT(list, ElementsAre("c"));
}

TEST(NameList, KeepsEachNameOnce) {
  std::mt19937 random(5);
  std::vector<std::string> names;
  NameList list;
  for (int i = 0; i < 20'000; ++i) {
    names.push_back(std::to_string(random() % 3000));
    list.push_back(names.back());
  }
  EXPECT_THAT(std::vector<std::string>(list.begin(), list.end()), ElementsAreArray(names));
  std::vector<std::string> distinct = names;
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  EXPECT_EQ(list.names().size(), distinct.size());
  for (size_t i = 0; i < names.size(); ++i) EXPECT_EQ(list.names()[list.number(i)], names[i]);
  const NameList copy = list;
  list.clear();
  EXPECT_EQ(copy[7], names[7]);
  list.push_back("x");
  EXPECT_THAT(list, ElementsAre("x"));
}

TEST(SentenceList, GivesBackWhatItTook) {
  std::mt19937 random(6);
  const std::vector<std::string> texts = {"a", "", " ", "a b", "long enough not to be short", "\u00e9"};
  std::vector<TaggedSentence> sentences;
  SentenceList list;
  for (int i = 0; i < 2000; ++i) {
    TaggedSentence sentence;
    for (unsigned word = 0; word < 1 + random() % 4; ++word) {
      sentence.words.push_back(texts[random() % texts.size()]);
      sentence.tags.push_back(std::string("B-").append(1, "xyz"[random() % 3]));
    }
    // Joined, not quite, or something else.
    sentence.text = JoinWords(sentence.words);
    if (i % 3 == 1) sentence.text += texts[random() % texts.size()];
    if (i % 3 == 2) sentence.text = texts[random() % texts.size()];
    sentences.push_back(sentence);
    list.push_back(sentence);
  }
  ASSERT_EQ(list.size(), sentences.size());
  size_t words = 0;
  for (size_t i = 0; i < sentences.size(); ++i) {
    const TaggedSentence back = list[i];
    EXPECT_EQ(back.text, sentences[i].text);
    EXPECT_EQ(list.text(i), sentences[i].text);
    EXPECT_EQ(back.words, sentences[i].words);
    EXPECT_EQ(back.tags, sentences[i].tags);
    EXPECT_EQ(list.tags(i), sentences[i].tags);
    EXPECT_EQ(list.first_word(i), words);
    EXPECT_EQ(list.words(i), sentences[i].words.size());
    words += list.words(i);
  }
}

}  // namespace
}  // namespace engram::corpus
