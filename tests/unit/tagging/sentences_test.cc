#include "core/tagging/sentences.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::tagging {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// The sentences' own texts. `entity`: words of the text that are one entity, or empty.
std::vector<std::string> Sentences(const std::string& text, const std::string& entity = "") {
  const std::vector<Word> words = *SplitWords(text);
  std::vector<Entity> entities;
  if (!entity.empty()) {
    const auto begin = static_cast<int64_t>(text.find(entity)), end = begin + static_cast<int64_t>(entity.size());
    Entity found;
    found.first_word = found.end_word = -1;
    for (size_t i = 0; i < words.size(); ++i) {
      if (words[i].start_byte == begin) found.first_word = static_cast<int32_t>(i);
      if (words[i].end_byte == end) found.end_word = static_cast<int32_t>(i + 1);
    }
    EXPECT_GE(found.first_word, 0);
    EXPECT_GT(found.end_word, found.first_word);
    entities.push_back(found);
  }
  const auto sentences = FindSentences(text, words, entities);
  EXPECT_TRUE(sentences.ok()) << sentences.status();
  std::vector<std::string> out;
  int32_t next = 0;
  for (const SentenceOfWords& sentence : *sentences) {
    EXPECT_EQ(sentence.first_word, next);
    EXPECT_GT(sentence.end_word, sentence.first_word);
    next = sentence.end_word;
    const int64_t begin = words[static_cast<size_t>(sentence.first_word)].start_byte;
    out.push_back(text.substr(static_cast<size_t>(begin),
                              static_cast<size_t>(words[static_cast<size_t>(next - 1)].end_byte - begin)));
  }
  EXPECT_EQ(next, static_cast<int32_t>(words.size()));
  return out;
}

TEST(Sentences, EndAtStopsAndNotAtAbbreviationsOrNumbers) {
  EXPECT_THAT(Sentences("Ada met Mr. Smith. They paid 3.5 pounds!  Why? \n\nNobody knows"),
              ElementsAre("Ada met Mr. Smith.", "They paid 3.5 pounds!", "Why?", "Nobody knows"));
  EXPECT_THAT(Sentences("one line\nanother line"), ElementsAre("one line", "another line"));
  EXPECT_THAT(Sentences(""), IsEmpty());
}

TEST(Sentences, OtherScripts) {
  EXPECT_THAT(Sentences("\xE6\x9D\xB1\xE4\xBA\xAC\xE3\x80\x82\xE5\xA4\xA7\xE9\x98\xAA\xE3\x80\x82"),  // Tokyo. Osaka.
              ElementsAre("\xE6\x9D\xB1\xE4\xBA\xAC\xE3\x80\x82", "\xE5\xA4\xA7\xE9\x98\xAA\xE3\x80\x82"));
}

TEST(Sentences, NoneEndsInsideOfAnEntity) {
  EXPECT_THAT(Sentences("She read Who? What? Where? by Lee. It was long.", "Who? What? Where"),
              ElementsAre("She read Who? What? Where?", "by Lee.", "It was long."));
  EXPECT_THAT(Sentences("She read Who? What? Where? by Lee. It was long."),
              ElementsAre("She read Who?", "What?", "Where?", "by Lee.", "It was long."));
}

}  // namespace
}  // namespace engram::tagging
