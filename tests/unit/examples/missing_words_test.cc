// Words of which a data set says that nothing is known, as a training and a measurement see them.

#include <memory>
#include <string>
#include <vector>

#include "ATen/ops/full.h"
#include "core/examples/entity_f1.h"
#include "core/examples/examples.h"
#include "core/nn/ops/cross_entropy/cross_entropy.h"
#include "core/tokenize/bert_tokenizer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::examples {
namespace {

using ::testing::ElementsAre;

constexpr int64_t kIgnored = nn::ops::kIgnored;
const std::vector<std::string> kTags = {"O", "B-P", "I-P"};

absl::StatusOr<ExampleSet> Make(const std::vector<std::string>& words, const std::vector<std::string>& tags,
                                int64_t max_length) {
  static const std::unique_ptr<tokenize::BertTokenizer> tokenizer =
      *tokenize::BertTokenizer::Create({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##x"}, {});
  corpus::Dataset dataset;
  dataset.kind = corpus::DatasetKind::kTagging;
  corpus::TaggedSentence sentence;
  sentence.text = "unused";
  sentence.words = words;
  sentence.tags = tags;
  dataset.sentences.push_back(sentence);
  return MakeExamples(dataset, checkpoint::TaskKind::kTokenClassification, kTags, max_length, *tokenizer, 2);
}

// One token a letter: [CLS] a b ##x a b [SEP].
TEST(MissingWords, TheirFirstTokensAreKnownAndNoLossIsTakenOfThem) {
  const auto made = Make({"a", "bx", "a", "b"}, {"-", "-", "B-P", "O"}, 16);
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_EQ(made->examples.size(), 1U);
  EXPECT_THAT(made->examples[0].tags, ElementsAre(kIgnored, kIgnored, kIgnored, kIgnored, 1, 0, kIgnored));
  EXPECT_THAT(made->examples[0].missing, ElementsAre(1, 2));
  EXPECT_THAT(made->places.gold[0], ElementsAre(tagging::TagSet::kNone, tagging::TagSet::kNone, 1, 0));
}

TEST(MissingWords, StandInTheWindowThatOwnsThem) {
  const auto made = Make({"a", "b", "a", "b", "a", "b"}, {"-", "O", "-", "O", "-", "B-P"}, 6);
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_GT(made->examples.size(), 1U);
  size_t missing = 0, tagged = 0;
  for (const train::TrainingExample& example : made->examples) {
    for (const int32_t token : example.missing) EXPECT_EQ(example.tags[static_cast<size_t>(token)], kIgnored);
    missing += example.missing.size();
    for (const int64_t tag : example.tags) tagged += tag != kIgnored ? 1 : 0;
  }
  EXPECT_EQ(missing, 3U);
  EXPECT_EQ(tagged, 3U);
}

// Logits that call every word a name of its own: right at one, wrong at another, not judged at two.
TEST(MissingWords, WhatIsFoundOnThemDoesNotCount) {
  const auto made = Make({"a", "b", "a", "b"}, {"-", "-", "B-P", "O"}, 16);
  ASSERT_TRUE(made.ok()) << made.status();
  at::Tensor logits = at::full({static_cast<int64_t>(made->examples[0].sequence.ids.size()), 3}, -5.0F);
  logits.select(1, 1).fill_(5);
  tagging::EntityScores scores;
  const auto f1 = SentenceEntityF1(*tagging::TagSet::FromTags(kTags), made->places, &scores)(
      made->examples, std::vector<at::Tensor>{logits});
  ASSERT_TRUE(f1.ok()) << f1.status();
  EXPECT_EQ(scores.micro.predicted, 2);
  EXPECT_EQ(scores.micro.correct, 1);
  EXPECT_EQ(scores.words, 2);
  EXPECT_DOUBLE_EQ(*f1, 2.0 * 0.5 / 1.5);
}

}  // namespace
}  // namespace engram::examples
