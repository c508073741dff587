// Words of which nothing is known: "-" in place of a tag.

#include <random>
#include <string>
#include <vector>

#include "core/tagging/bio.h"
#include "core/tagging/entity_scores.h"
#include "core/tagging/spans.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::tagging {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int32_t kNone = TagSet::kNone;

TEST(MissingTags, EndAnEntityAndStayWhatTheyAre) {
  const std::vector<std::string> tags = {"I-a", "-", "I-a", "E-a", "-", "O"};
  EXPECT_THAT(UnknownTags(tags), IsEmpty());
  EXPECT_THAT(ToBio2(tags), ElementsAre("B-a", "-", "B-a", "I-a", "-", "O"));
  EXPECT_THAT(Deviations(std::vector<std::string>{"B-a", "-", "O", "B-a", "I-a"}, TagScheme::kBio2), IsEmpty());
  EXPECT_EQ(Deviations(std::vector<std::string>{"B-a", "-", "I-a"}, TagScheme::kBio2).size(), 1U);
  const TagSet set = *TagSet::FromTypes({"a"});
  EXPECT_THAT(*IdsOfBio2(set, std::vector<std::string>{"-", "B-a", "I-a", "-", "O"}),
              ElementsAre(kNone, 1, 2, kNone, 0));
}

TEST(MissingTags, WhatIsFoundOnThemAloneIsNoError) {
  const TagSet set = *TagSet::FromTypes({"a", "b"});  // O B-a I-a B-b I-b
  EntityScorer scorer(set);
  // Gold: a at 0, nothing known of 1 to 3, outside at 4, b at 5.
  ASSERT_TRUE(
      scorer.Add(std::vector<int32_t>{1, kNone, kNone, kNone, 0, 3}, std::vector<int32_t>{1, 3, 4, 0, 1, 3}).ok());
  const EntityScores scores = scorer.Scores();
  // Found: a at 0 (right), b at 1 and 2 (not judged), a at 4 (wrong), b at 5 (right).
  EXPECT_EQ(scores.micro.predicted, 3);
  EXPECT_EQ(scores.micro.correct, 2);
  EXPECT_EQ(scores.micro.support, 2);
  EXPECT_EQ(scores.boundary.predicted, 3);
  EXPECT_EQ(scores.words, 3);
  EXPECT_DOUBLE_EQ(scores.tag_accuracy, 2.0 / 3);
  EXPECT_FALSE(EntityScorer(set).Add(std::vector<int32_t>{0}, std::vector<int32_t>{kNone}).ok());
  EXPECT_FALSE(EntityScorer(set).Add(std::vector<int32_t>{-2}, std::vector<int32_t>{0}).ok());
}

// One type, every word an entity of its own or O, so that loops over words are the definition.
TEST(MissingTags, CountsEqualThoseOfLoops) {
  const TagSet set = *TagSet::FromTypes({"a"});
  std::mt19937 random(1);
  EntityScorer scorer(set);
  int64_t support = 0, predicted = 0, correct = 0, words = 0;
  for (int sentence = 0; sentence < 200; ++sentence) {
    std::vector<int32_t> gold(1 + random() % 9), found(gold.size());
    for (size_t i = 0; i < gold.size(); ++i) {
      gold[i] = static_cast<int32_t>(random() % 3) - 1;
      found[i] = static_cast<int32_t>(random() % 2);
      support += gold[i] == 1;
      predicted += found[i] == 1 && gold[i] != kNone;
      correct += found[i] == 1 && gold[i] == 1;
      words += gold[i] != kNone;
    }
    ASSERT_TRUE(scorer.Add(gold, found).ok());
  }
  const EntityScores scores = scorer.Scores();
  EXPECT_EQ(scores.micro.support, support);
  EXPECT_EQ(scores.micro.predicted, predicted);
  EXPECT_EQ(scores.micro.correct, correct);
  EXPECT_EQ(scores.words, words);
}

// An entity that reaches from a word of which nothing is known over one that has a tag is judged.
TEST(MissingTags, WhatReachesOverAKnownWordIsJudged) {
  EntityScorer scorer(*TagSet::FromTypes({"a"}));
  ASSERT_TRUE(scorer.Add(std::vector<int32_t>{kNone, 1, kNone}, std::vector<int32_t>{1, 2, 0}).ok());
  EXPECT_EQ(scorer.Scores().micro.predicted, 1);
  EXPECT_EQ(scorer.Scores().micro.correct, 0);
}

}  // namespace
}  // namespace engram::tagging
