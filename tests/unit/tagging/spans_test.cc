#include "core/tagging/spans.h"

#include <cmath>
#include <vector>

#include "core/tagging/viterbi.h"
#include "core/tagging/words.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::tagging {
namespace {

using ::testing::ElementsAre;

TEST(Spans, SequencesThatAreNotLegalAreReadStrictlyOrLeniently) {
  const TagSet tags = *TagSet::FromTypes({"a", "b"});  // O B-a I-a B-b I-b
  const std::vector<int32_t> sequence = {1, 4, 0, 2, 2, 1, 0, 2};
  EXPECT_THAT(TagsToSpans(tags, sequence, SpanReading::kStrict), ElementsAre(TagSpan{0, 1, 0}, TagSpan{5, 6, 0}))
      << "an I tag alone begins nothing";
  EXPECT_THAT(TagsToSpans(tags, sequence, SpanReading::kLenient),
              ElementsAre(TagSpan{0, 1, 0}, TagSpan{1, 2, 1}, TagSpan{3, 5, 0}, TagSpan{5, 6, 0}, TagSpan{7, 8, 0}));
}

TEST(Spans, EntitiesHaveTheirPlacesInCodePointsAndInBytes) {
  const std::string text = "Zoë lives in São Paulo";
  const TagSet tags = *TagSet::FromTypes({"person", "place"});
  const std::vector<Word> words = SplitWords(text).value();
  const std::vector<Entity> entities =
      LocateEntities(text, words, tags, std::vector<TagSpan>{{0, 1, 0}, {3, 5, 1}}, std::vector<double>{0.5, 0.25});
  ASSERT_EQ(entities.size(), 2U);
  EXPECT_EQ(entities[0].type, "person");
  EXPECT_EQ(entities[0].text, "Zoë");
  EXPECT_EQ(entities[0].end, 3);
  EXPECT_EQ(entities[0].end_byte, 4);
  EXPECT_EQ(entities[1].type, "place");
  EXPECT_EQ(entities[1].text, "São Paulo");
  EXPECT_EQ(entities[1].start, 13);
  EXPECT_EQ(entities[1].end, 22);
  EXPECT_EQ(entities[1].start_byte, 14);
  EXPECT_EQ(entities[1].end_byte, 24);
  EXPECT_EQ(entities[1].first_word, 3);
  EXPECT_EQ(entities[1].end_word, 5);
  EXPECT_EQ(entities[1].score, 0.25);
}

TEST(LogSoftmaxRows, EachRowSumsToOne) {
  const std::vector<float> logits = {0, 1, 2, -50, 300, 300};
  const std::vector<float> rows = LogSoftmaxRows(logits, 3);
  const double sum = 1 + std::exp(1.0) + std::exp(2.0);
  for (int k = 0; k < 3; ++k) EXPECT_NEAR(rows[static_cast<size_t>(k)], k - std::log(sum), 1e-6);
  EXPECT_NEAR(rows[3], -350 - std::log(2.0), 1e-4);
  EXPECT_NEAR(rows[4], -std::log(2.0), 1e-6);
  EXPECT_NEAR(rows[5], -std::log(2.0), 1e-6);
}

}  // namespace
}  // namespace engram::tagging
