#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "core/base/random.h"
#include "core/base/utf8.h"
#include "core/tagging/bio.h"
#include "core/tagging/spans.h"
#include "core/tagging/viterbi.h"
#include "core/tagging/windows.h"
#include "core/tagging/words.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::tagging {
namespace {

using ::testing::ElementsAre;

std::vector<Word> Split(std::string_view text) { return SplitWords(text).value(); }

std::vector<std::string> WordsOf(std::string_view text) {
  std::vector<std::string> words;
  for (const Word& word : Split(text)) words.emplace_back(word.In(text));
  return words;
}

// Every legal sequence of `length` tags, by trying all.
std::vector<std::vector<int32_t>> LegalSequences(const TagSet& tags, int length) {
  std::vector<std::vector<int32_t>> all = {{}};
  for (int t = 0; t < length; ++t) {
    std::vector<std::vector<int32_t>> longer;
    for (const auto& sequence : all) {
      for (int32_t tag = 0; tag < tags.size(); ++tag) {
        if (!tags.Allowed(sequence.empty() ? TagSet::kNone : sequence.back(), tag)) continue;
        longer.push_back(sequence);
        longer.back().push_back(tag);
      }
    }
    all = std::move(longer);
  }
  return all;
}

TEST(Viterbi, EqualsTryingAllLegalSequences) {
  const TagSet tags = *TagSet::FromTypes({"person", "place"});
  RandomStream random(1, RandomPurpose::kSubset, 0);
  for (int round = 0; round < 60; ++round) {
    const int length = 1 + static_cast<int>(random.NextBelow(5));
    std::vector<float> logits;
    for (int i = 0; i < length * tags.size(); ++i) logits.push_back(static_cast<float>(2 * random.NextNormal()));
    const std::vector<float> p = LogSoftmaxRows(logits, tags.size());
    double best = -std::numeric_limits<double>::infinity(), total = 0;
    const auto legal = LegalSequences(tags, length);
    const auto score = [&](const std::vector<int32_t>& sequence) {
      double sum = 0;
      for (int t = 0; t < length; ++t)
        sum += p[static_cast<size_t>(t * tags.size() + sequence[static_cast<size_t>(t)])];
      return sum;
    };
    for (const auto& sequence : legal) {
      best = std::max(best, score(sequence));
      total += std::exp(score(sequence));
    }
    const auto path = Viterbi(tags, p);
    ASSERT_TRUE(path.ok());
    EXPECT_NEAR(path->score, best, 1e-5);
    EXPECT_NEAR(score(path->tags), best, 1e-5);
    const std::vector<TagSpan> spans = TagsToSpans(tags, path->tags);
    const auto probabilities = EntityProbabilities(tags, p, spans);
    ASSERT_TRUE(probabilities.ok());
    for (size_t s = 0; s < spans.size(); ++s) {
      double mass = 0;
      for (const auto& sequence : legal) {
        const auto found = TagsToSpans(tags, sequence);
        if (std::find(found.begin(), found.end(), spans[s]) != found.end()) mass += std::exp(score(sequence));
      }
      EXPECT_NEAR((*probabilities)[s], mass / total, 1e-5);
    }
  }
}

TEST(Viterbi, RefusesNotANumber) {
  const TagSet tags = *TagSet::FromTypes({"x"});
  EXPECT_FALSE(Viterbi(tags, std::vector<float>(3, std::numeric_limits<float>::quiet_NaN())).ok());
  EXPECT_TRUE(Viterbi(tags, {}).value().tags.empty());
}

TEST(Bio, SchemesBecomeBio2) {
  const std::vector<std::string> iob1 = {"I-per", "I-per", "B-per", "O", "I-loc"};
  EXPECT_EQ(DetectScheme(std::vector<std::vector<std::string>>{iob1}), TagScheme::kIob1);
  EXPECT_THAT(NormaliseTags(iob1, TagScheme::kIob1).tags, ElementsAre("B-per", "I-per", "B-per", "O", "B-loc"));
  const std::vector<std::string> bioes = {"B-per", "I-per", "E-per", "O", "S-loc"};
  EXPECT_EQ(DetectScheme(std::vector<std::vector<std::string>>{bioes}), TagScheme::kBioes);
  EXPECT_THAT(NormaliseTags(bioes, TagScheme::kBioes).tags, ElementsAre("B-per", "I-per", "I-per", "O", "B-loc"));
  const std::vector<std::string> bad = {"O", "I-per"};
  EXPECT_EQ(NormaliseTags(bad, TagScheme::kBio2).problem->word, 1);
  EXPECT_TRUE(NormaliseTags(std::vector<std::string>{"Q-per"}, TagScheme::kBio2).problem.has_value());
}

TEST(Bio, TagSetsOfModels) {
  EXPECT_THAT(TagSet::FromTypes({"a", "b"})->names(), ElementsAre("O", "B-a", "I-a", "B-b", "I-b"));
  EXPECT_EQ(TagSet::FromTags({"B-a", "O", "I-a"})->outside(), 1);
  EXPECT_FALSE(TagSet::FromTags({"B-a", "I-a"}).ok());       // no O
  EXPECT_FALSE(TagSet::FromTags({"O", "I-a"}).ok());         // I-a could never be reached
  EXPECT_FALSE(TagSet::FromTags({"O", "B-a", "B-a"}).ok());  // twice
  EXPECT_FALSE(TagSet::FromTypes({"a b"}).ok());
}

TEST(Spans, RoundTripOnLegalSequences) {
  const TagSet tags = *TagSet::FromTypes({"a", "b"});
  for (const auto& sequence : LegalSequences(tags, 4)) {
    EXPECT_EQ(*SpansToTags(tags, TagsToSpans(tags, sequence), 4), sequence);
    EXPECT_EQ(TagsToSpans(tags, sequence, SpanReading::kStrict), TagsToSpans(tags, sequence, SpanReading::kLenient));
  }
}

TEST(Words, FollowTheRules) {
  EXPECT_THAT(WordsOf("I don't pay $3.50, e-mail a@b.org!!"),
              ElementsAre("I", "do", "n't", "pay", "$", "3.50", ",", "e-mail", "a@b.org", "!!"));
  EXPECT_THAT(WordsOf("@user #topic U.S. 14:30 https://x.org/a?b=1."),
              ElementsAre("@user", "#topic", "U.S.", "14:30", "https://x.org/a?b=1", "."));
  EXPECT_THAT(WordsOf("東京 Tokyo"), ElementsAre("東", "京", "Tokyo"));
  EXPECT_TRUE(WordsOf(" \t\n").empty());
  EXPECT_FALSE(SplitWords("\xff").ok());
}

TEST(Words, PlacesPointIntoTheText) {
  const std::string text = "Zoë 😀 naïve—Paris-based";
  int64_t previous = 0;
  for (const Word& word : Split(text)) {
    EXPECT_EQ(CountCodePoints(text.substr(0, word.start_byte)), word.start);
    EXPECT_EQ(CountCodePoints(text.substr(0, word.end_byte)), word.end);
    EXPECT_GE(word.start_byte, previous);
    previous = word.end_byte;
  }
  std::vector<Word> words = Split("Paris-based firm");
  EXPECT_EQ(CutWords("Paris-based firm", &words, {0, 5}), 1);
  EXPECT_EQ(words[0].end, 5);
}

TEST(Windows, OwnEveryWordOnceAndKeepTheBudget) {
  RandomStream random(2, RandomPurpose::kSubset, 0);
  for (int round = 0; round < 50; ++round) {
    std::vector<int32_t> counts;
    for (uint64_t i = 0; i < 1 + random.NextBelow(200); ++i)
      counts.push_back(static_cast<int32_t>(random.NextBelow(6)));
    const auto windows = PlanWordWindows(counts, 20, 5);
    ASSERT_TRUE(windows.ok());
    int32_t owned = 0;
    for (const WordWindow& window : *windows) {
      EXPECT_EQ(window.first_owned, owned);
      owned = window.end_owned;
      EXPECT_LE(window.first_word, window.first_owned);
      EXPECT_GE(window.end_word, window.end_owned);
      EXPECT_LE(window.tokens, 20);
      EXPECT_FALSE(window.word_cut);
    }
    EXPECT_EQ(owned, static_cast<int32_t>(counts.size()));
  }
  EXPECT_TRUE(PlanWordWindows(std::vector<int32_t>{50}, 20, 5)->front().word_cut);
  EXPECT_FALSE(PlanWordWindows(std::vector<int32_t>{1}, 0, 0).ok());
}

}  // namespace
}  // namespace engram::tagging
