// Expectations are written by hand from the vocabulary below: one token per letter, "##" before all but a word's first.

#include "core/examples/examples.h"

#include <memory>
#include <string>
#include <vector>

#include "ATen/ops/full.h"
#include "core/examples/entity_f1.h"
#include "core/nn/ops/cross_entropy/cross_entropy.h"
#include "core/tokenize/bert_tokenizer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::examples {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr int32_t kCls = 2, kSep = 3, kA = 5, kB = 6, kC = 7, kD = 8, kXx = 9, kYy = 10;
constexpr int64_t kNone = nn::ops::kIgnored;
constexpr const char* kDropped = "\u00ad";  // a soft hyphen: the normalizer removes it
const std::vector<std::string> kTags = {"O", "B-P", "I-P"};

const tokenize::Tokenizer& Letters() {
  static const std::unique_ptr<tokenize::BertTokenizer> tokenizer = *tokenize::BertTokenizer::Create(
      {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d", "##x", "##y"}, {});
  return *tokenizer;
}

corpus::Dataset Sentence(std::vector<std::string> words, std::vector<std::string> tags) {
  corpus::Dataset dataset;
  dataset.kind = corpus::DatasetKind::kTagging;
  dataset.sentences.push_back({"", std::move(words), std::move(tags)});
  return dataset;
}

// Words 2 and 3 are one person; at 6 tokens the first window owns words 0 to 2, the second one 3 to 5.
corpus::Dataset LongSentence() { return Sentence({"a", "b", "c", "d", "a", "b"}, {"O", "O", "B-P", "I-P", "O", "O"}); }

TEST(Examples, ATextIsOneExampleAndIsCutAtTheEnd) {
  corpus::Dataset dataset;
  dataset.kind = corpus::DatasetKind::kClassification;
  dataset.texts = {"a b", "axy c d"};
  dataset.labels = {"yes", "no"};
  const auto made =
      MakeExamples(dataset, checkpoint::TaskKind::kSequenceClassification, {"no", "yes"}, 5, Letters(), 2);
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_EQ(made->examples.size(), 2U);
  EXPECT_THAT(made->examples[0].sequence.ids, ElementsAre(kCls, kA, kB, kSep));
  EXPECT_EQ(made->examples[0].label, 1);
  EXPECT_THAT(made->examples[1].sequence.ids, ElementsAre(kCls, kA, kXx, kYy, kSep));
  EXPECT_EQ(made->examples[1].label, 0);
  EXPECT_EQ(made->examples[0].source, 0);
  EXPECT_EQ(made->examples[1].source, 1);
  EXPECT_EQ(made->cut, 1);
  EXPECT_EQ(made->texts(), 2);
  EXPECT_EQ(TotalTokens(made->examples), 9);
}

// "axy" stays together; the last window begins earlier, and what it shares counts once.
TEST(Examples, ALongTextIsReadWholeInWindowsIfThatIsAsked) {
  corpus::Dataset dataset;
  dataset.kind = corpus::DatasetKind::kClassification;
  dataset.texts = {"a b c axy d a b", "a b"};
  dataset.labels = {"yes", "no"};
  const auto kind = checkpoint::TaskKind::kSequenceClassification;
  const auto made = MakeExamples(dataset, kind, {"no", "yes"}, 6, Letters(), 2, {}, train::LongTexts::kChunk);
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_EQ(made->examples.size(), 2U);
  const nn::Sequence& whole = made->examples[0].sequence;
  EXPECT_THAT(whole.ids, ElementsAre(kCls, kA, kB, kC, kSep, kCls, kA, kXx, kYy, kD, kSep, kCls, kD, kA, kB, kSep));
  EXPECT_THAT(whole.windows, ElementsAre(nn::TextWindow{5, 3}, nn::TextWindow{6, 4}, nn::TextWindow{5, 2}));
  EXPECT_EQ(made->examples[0].whole[0],
            train::TokensDigest(std::vector<int32_t>{kA, kB, kC, kA, kXx, kYy, kD, kA, kB}));
  // A text that fits is what it is without the option.
  const auto cut = MakeExamples(dataset, kind, {"no", "yes"}, 6, Letters(), 2);
  EXPECT_EQ(made->examples[1].sequence.ids, cut->examples[1].sequence.ids);
  EXPECT_TRUE(made->examples[1].sequence.windows.empty());
  EXPECT_EQ(made->examples[1].whole[0], 0);
  EXPECT_EQ(made->cut, 0);
  EXPECT_EQ(cut->cut, 1);
  dataset.kind = corpus::DatasetKind::kPairs;
  dataset.second_texts = {"a", "b"};
  EXPECT_EQ(
      StatusField(MakeExamples(dataset, kind, {"no", "yes"}, 6, Letters(), 2, {}, train::LongTexts::kChunk).status()),
      "long_texts");
}

TEST(Examples, APairIsOneExampleWithTwoTypesOfTokens) {
  corpus::Dataset dataset;
  dataset.kind = corpus::DatasetKind::kPairs;
  dataset.texts = {"a", "axy b c"};
  dataset.second_texts = {"b c", "d"};
  dataset.labels = {"yes", "no"};
  const auto kind = checkpoint::TaskKind::kSequenceClassification;
  const auto made = MakeExamples(dataset, kind, {"no", "yes"}, 6, Letters(), 2);
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_EQ(made->examples.size(), 2U);
  EXPECT_THAT(made->examples[0].sequence.ids, ElementsAre(kCls, kA, kSep, kB, kC, kSep));
  EXPECT_THAT(made->examples[0].sequence.type_ids, ElementsAre(0, 0, 0, 1, 1, 1));
  EXPECT_EQ(made->examples[0].label, 1);
  // The longer text is cut.
  EXPECT_THAT(made->examples[1].sequence.ids, ElementsAre(kCls, kA, kXx, kSep, kD, kSep));
  EXPECT_THAT(made->examples[1].sequence.type_ids, ElementsAre(0, 0, 0, 0, 1, 1));
  EXPECT_EQ(made->cut, 1);
  // A model with a single type has none to tell apart.
  EXPECT_TRUE(MakeExamples(dataset, kind, {"no", "yes"}, 6, Letters(), 1)->examples[0].sequence.type_ids.empty());
  EXPECT_FALSE(MakeExamples(dataset, checkpoint::TaskKind::kMaskedLanguageModel, {}, 6, Letters(), 2).ok());
}

// What is missing of a text is told by a digest of all its tokens.
TEST(Examples, ATextThatWasCutKeepsTheDigestOfAllOfIt) {
  const auto digest = [](const std::vector<int32_t>& ids) { return train::TokensDigest(ids); };
  corpus::Dataset single;
  single.kind = corpus::DatasetKind::kClassification;
  single.texts = {"a b", "axy c d"};
  single.labels = {"yes", "no"};
  const auto kind = checkpoint::TaskKind::kSequenceClassification;
  const auto texts = *MakeExamples(single, kind, {"no", "yes"}, 5, Letters(), 2);
  EXPECT_THAT(texts.examples[0].whole, ElementsAre(0, 0));
  EXPECT_THAT(texts.examples[1].whole, ElementsAre(digest({kA, kXx, kYy, kC, kD}), 0));
  corpus::Dataset pair;
  pair.kind = corpus::DatasetKind::kPairs;
  pair.texts = {"axy b c"};
  pair.second_texts = {"d"};
  pair.labels = {"no"};
  const auto pairs = *MakeExamples(pair, kind, {"no", "yes"}, 6, Letters(), 2);
  EXPECT_THAT(pairs.examples[0].whole, ElementsAre(digest({kA, kXx, kYy, kB, kC}), digest({kD})));
  const auto tagger = checkpoint::TaskKind::kTokenClassification;
  const auto windows = *MakeExamples(LongSentence(), tagger, kTags, 6, Letters(), 2);
  for (const train::TrainingExample& window : windows.examples)
    EXPECT_EQ(window.whole[0], digest({kA, kB, kC, kD, kA, kB}));
  const auto cut = *MakeExamples(Sentence({"axyxyx"}, {"O"}), tagger, kTags, 6, Letters(), 2);
  EXPECT_EQ(cut.examples[0].whole[0], digest({kA, kXx, kYy, kXx, kYy, kXx}));
  const auto one = *MakeExamples(Sentence({"ax"}, {"O"}), tagger, kTags, 6, Letters(), 2);
  EXPECT_THAT(one.examples[0].whole, ElementsAre(0, 0));
}

// hashlib.sha256(struct.pack("<3i", 101, 70000, 2)).hexdigest()[:15] in Python.
TEST(Examples, ADigestIsOfTheTokensInOrder) {
  EXPECT_EQ(train::TokensDigest(std::vector<int32_t>{101, 70000, 2}), 497061070237806958);
  EXPECT_NE(train::TokensDigest(std::vector<int32_t>{70000, 101, 2}), 497061070237806958);
}

// A task of IOB1 with every B tag learns, and is counted, as it writes its tags.
TEST(Examples, TagsAreWrittenInTheSchemeOfTheTask) {
  const auto kind = checkpoint::TaskKind::kTokenClassification;
  const corpus::Dataset dataset = Sentence({"a", "b", "c", "d"}, {"B-P", "I-P", "B-P", "O"});
  const auto written = [&](std::string_view scheme) {
    return MakeExamples(dataset, kind, kTags, 8, Letters(), 2, scheme)->places.gold[0];
  };
  EXPECT_THAT(written("iob1"), ElementsAre(2, 2, 1, 0));
  EXPECT_THAT(written("lenient"), ElementsAre(1, 2, 1, 0));
  EXPECT_THAT(written(""), ElementsAre(1, 2, 1, 0));
  EXPECT_EQ(StatusField(MakeExamples(dataset, kind, kTags, 8, Letters(), 2, "iob3").status()), "tag_scheme");
}

TEST(Examples, TagsOfWordsAreEachWordsOwn) {
  corpus::Dataset dataset = Sentence({"a", "bx", "c"}, {"DT", "NN", "DT"});
  dataset.kind = corpus::DatasetKind::kWordTags;
  const auto kind = checkpoint::TaskKind::kTokenClassification;
  const auto made = MakeExamples(dataset, kind, {"NN", "DT"}, 8, Letters(), 2);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_THAT(made->examples[0].tags, ElementsAre(kNone, 1, 0, kNone, 1, kNone));
  EXPECT_FALSE(MakeExamples(dataset, kind, {"NN", "VB"}, 8, Letters(), 2).ok());
  EXPECT_EQ(StatusField(MakeExamples(dataset, kind, kTags, 8, Letters(), 2).status()), "dataset");
  EXPECT_EQ(StatusField(MakeExamples(LongSentence(), kind, {"NN", "DT"}, 8, Letters(), 2).status()), "dataset");
}

TEST(Examples, ALabelThatTheTaskDoesNotHaveNamesItsRow) {
  corpus::Dataset dataset;
  dataset.kind = corpus::DatasetKind::kClassification;
  dataset.texts = {"a", "b"};
  dataset.labels = {"yes", "perhaps"};
  const auto made =
      MakeExamples(dataset, checkpoint::TaskKind::kSequenceClassification, {"no", "yes"}, 5, Letters(), 2);
  EXPECT_EQ(StatusField(made.status()), "rows[1].label");
}

TEST(Examples, PlainTextIsCutIntoConsecutivePieces) {
  corpus::Dataset dataset;
  dataset.kind = corpus::DatasetKind::kText;
  dataset.texts = {"a b c d ax", kDropped, "b"};
  const auto made = MakeExamples(dataset, checkpoint::TaskKind::kMaskedLanguageModel, {}, 5, Letters(), 2);
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_EQ(made->examples.size(), 3U);
  EXPECT_THAT(made->examples[0].sequence.ids, ElementsAre(kCls, kA, kB, kC, kSep));
  EXPECT_THAT(made->examples[1].sequence.ids, ElementsAre(kCls, kD, kA, kXx, kSep));
  EXPECT_THAT(made->examples[2].sequence.ids, ElementsAre(kCls, kB, kSep));
  EXPECT_EQ(made->examples[1].source, 0);
  EXPECT_EQ(made->examples[2].source, 2) << "the dropped text is one of the data set's";
  EXPECT_EQ(made->cut, 0);
  EXPECT_FALSE(MakeExamples(dataset, checkpoint::TaskKind::kMaskedLanguageModel, {}, 2, Letters(), 2).ok());
}

TEST(Examples, AWordIsTaggedAtItsFirstTokenAndADroppedOneNowhere) {
  const corpus::Dataset dataset = Sentence({"ax", "b", kDropped, "cxy", "d"}, {"B-P", "I-P", "I-P", "O", "B-P"});
  const auto made = MakeExamples(dataset, checkpoint::TaskKind::kTokenClassification, kTags, 32, Letters(), 2);
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_EQ(made->examples.size(), 1U);
  EXPECT_THAT(made->examples[0].sequence.ids, ElementsAre(kCls, kA, kXx, kB, kC, kXx, kYy, kD, kSep));
  EXPECT_THAT(made->examples[0].tags, ElementsAre(kNone, 1, kNone, 2, 0, kNone, kNone, 1, kNone));
  EXPECT_FALSE(made->examples[0].continues);
  ASSERT_EQ(made->places.gold.size(), 1U);
  EXPECT_THAT(made->places.gold[0], ElementsAre(1, 2, 2, 0, 1));
  ASSERT_EQ(made->places.windows.size(), 1U);
  EXPECT_THAT(made->places.windows[0].rows, ElementsAre(Pair(1, 0), Pair(3, 1), Pair(4, 3), Pair(7, 4)));
}

TEST(Examples, ALongSentenceIsSeveralWindowsThatOwnEachWordOnce) {
  const auto made = MakeExamples(LongSentence(), checkpoint::TaskKind::kTokenClassification, kTags, 6, Letters(), 2);
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_EQ(made->examples.size(), 2U);
  EXPECT_THAT(made->examples[0].sequence.ids, ElementsAre(kCls, kA, kB, kC, kD, kSep));
  EXPECT_THAT(made->examples[0].tags, ElementsAre(kNone, 0, 0, 1, kNone, kNone));
  EXPECT_FALSE(made->examples[0].continues);
  EXPECT_THAT(made->examples[1].sequence.ids, ElementsAre(kCls, kC, kD, kA, kB, kSep));
  EXPECT_THAT(made->examples[1].tags, ElementsAre(kNone, kNone, 2, 0, 0, kNone));
  EXPECT_TRUE(made->examples[1].continues);
  EXPECT_EQ(made->examples[0].source, 0);
  EXPECT_EQ(made->examples[1].source, 0);
  EXPECT_EQ(made->texts(), 1);
  EXPECT_EQ(made->cut, 0);  // nothing is lost
}

TEST(Examples, ASingleWordLongerThanTheWindowCountsAsCut) {
  const auto made = MakeExamples(Sentence({"axyxyx", "b"}, {"O", "O"}), checkpoint::TaskKind::kTokenClassification,
                                 kTags, 6, Letters(), 2);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->cut, 1);
  EXPECT_THAT(made->examples[0].sequence.ids, ElementsAre(kCls, kA, kXx, kYy, kXx, kSep));
  EXPECT_EQ(made->texts(), 1);
}

TEST(Examples, DataOfAnotherKindIsRefused) {
  corpus::Dataset plain;
  plain.kind = corpus::DatasetKind::kText;
  plain.texts = {"a"};
  for (const auto kind : {checkpoint::TaskKind::kSequenceClassification, checkpoint::TaskKind::kTokenClassification})
    EXPECT_EQ(StatusField(MakeExamples(plain, kind, kTags, 8, Letters(), 2).status()), "dataset");
  EXPECT_FALSE(MakeExamples(LongSentence(), checkpoint::TaskKind::kMaskedLanguageModel, {}, 8, Letters(), 2).ok());
  EXPECT_FALSE(
      MakeExamples(Sentence({"a"}, {"B-Q"}), checkpoint::TaskKind::kTokenClassification, kTags, 8, Letters(), 2).ok());
  plain.texts = {kDropped};
  EXPECT_THAT(
      std::string(
          MakeExamples(plain, checkpoint::TaskKind::kMaskedLanguageModel, {}, 8, Letters(), 2).status().message()),
      HasSubstr("no text with a token"));
}

TEST(WordWindows, AreCountedWithThoseThatTheTokenizerEmpties) {
  const std::vector<std::string_view> words = {kDropped, kDropped};
  const auto none = EncodeWordWindows(words, 8, Letters());
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_TRUE(none->windows.empty());
  EXPECT_EQ(none->planned, 1);
  EXPECT_TRUE(none->ids.empty());
  const std::vector<std::string_view> long_word = {"axyxyx", "b"};
  const auto cut = EncodeWordWindows(long_word, 6, Letters());
  ASSERT_TRUE(cut.ok()) << cut.status();
  EXPECT_TRUE(cut->word_cut);
  EXPECT_EQ(cut->ids.size(), 7u);
  EXPECT_EQ(cut->planned, 2);
  EXPECT_FALSE(EncodeWordWindows(long_word, 2, Letters()).ok());
}

TEST(WordLogits, AWordThatNoWindowHasIsOutside) {
  const tagging::TagSet tags = *tagging::TagSet::FromTags({"B-P", "O", "I-P"});
  WordLogits logits(3, tags);
  const std::vector<float> first = {9, 9, 9, 1, 2, 3}, second = {4, 5, 6};
  logits.Take({{1, 0}}, first.data());
  logits.Take({{0, 2}}, second.data());
  EXPECT_THAT(logits.values(), ElementsAre(1, 2, 3, 0, 30, 0, 4, 5, 6));
}

// Logits that say `tags` at the tokens that count and nonsense elsewhere.
at::Tensor Saying(const train::TrainingExample& example, const std::vector<int64_t>& tags) {
  at::Tensor logits = at::full({static_cast<int64_t>(example.tags.size()), 3}, -5.0F, at::kFloat);
  auto next = tags.begin();
  for (size_t token = 0; token < example.tags.size(); ++token) {
    const int64_t tag = example.tags[token] == kNone ? 1 : *next++;
    logits.mutable_data_ptr<float>()[token * 3 + static_cast<size_t>(tag)] = 5.0F;
  }
  return logits;
}

TEST(EntityF1, AnEntityThatTwoWindowsShareIsOneOfTheSentence) {
  const tagging::TagSet tags = *tagging::TagSet::FromTags(kTags);
  const ExampleSet made =
      *MakeExamples(LongSentence(), checkpoint::TaskKind::kTokenClassification, kTags, 6, Letters(), 2);
  const auto score = [&](const train::TokenMetric& metric, const std::vector<at::Tensor>& logits) {
    return metric(made.examples, logits).value();
  };
  tagging::EntityScores all;
  const train::TokenMetric sentences = SentenceEntityF1(tags, made.places, &all);

  const std::vector<at::Tensor> right = {Saying(made.examples[0], {0, 0, 1}), Saying(made.examples[1], {2, 0, 0})};
  EXPECT_EQ(score(sentences, right), 1);
  EXPECT_EQ(all.by_type.at("P").support, 1);
  // The first word of an entity alone: by windows it would be one of two entities, by the sentence it is none of one.
  const std::vector<at::Tensor> half = {Saying(made.examples[0], {0, 0, 1}), Saying(made.examples[1], {0, 0, 0})};
  EXPECT_EQ(score(sentences, half), 0);
  EXPECT_EQ(all.by_type.at("P").predicted, 1);
  EXPECT_EQ(all.by_type.at("P").correct, 0);
}

TEST(EntityF1, ADroppedWordIsOutsideAndEndsTheEntity) {
  const tagging::TagSet tags = *tagging::TagSet::FromTags(kTags);
  const ExampleSet made = *MakeExamples(Sentence({"a", kDropped, "b"}, {"B-P", "I-P", "I-P"}),
                                        checkpoint::TaskKind::kTokenClassification, kTags, 8, Letters(), 2);
  const std::vector<at::Tensor> logits = {Saying(made.examples[0], {1, 2})};
  EXPECT_EQ(SentenceEntityF1(tags, made.places)(made.examples, logits).value(), 0);
}

// Of three texts the first and the last are held out; the middle one's windows must not shift theirs.
TEST(EntityF1, HeldOutTextsAreScoredAsIfTheyWereAll) {
  const tagging::TagSet tags = *tagging::TagSet::FromTags(kTags);
  corpus::Dataset three = LongSentence();
  three.sentences.push_back(three.sentences[0]);
  three.sentences.push_back(Sentence({"a", "b"}, {"B-P", "O"}).sentences[0]);
  const ExampleSet made = *MakeExamples(three, checkpoint::TaskKind::kTokenClassification, kTags, 6, Letters(), 2);
  ASSERT_EQ(made.examples.size(), 5U);
  const std::vector<train::TrainingExample> held_out = {made.examples[0], made.examples[1], made.examples[4]};
  tagging::EntityScores all;
  const train::TokenMetric metric = HeldOutEntityF1(tags, made.places, &all);
  const std::vector<at::Tensor> right = {Saying(held_out[0], {0, 0, 1}), Saying(held_out[1], {2, 0, 0}),
                                         Saying(held_out[2], {1, 0})};
  EXPECT_EQ(metric(held_out, right).value(), 1);
  EXPECT_EQ(all.sentences, 2);
  EXPECT_EQ(all.by_type.at("P").support, 2);
  // The entity that two windows share is missed, the other one found: precision 1 of 2, recall 1 of 2.
  const std::vector<at::Tensor> half = {Saying(held_out[0], {0, 0, 1}), Saying(held_out[1], {0, 0, 0}),
                                        Saying(held_out[2], {1, 0})};
  EXPECT_DOUBLE_EQ(metric(held_out, half).value(), 0.5);
  std::vector<train::TrainingExample> strange = held_out;
  strange[2].source = 7;
  EXPECT_FALSE(metric(strange, right).ok());
}

TEST(EntityF1, PlacesOfOtherExamplesAreRefused) {
  const tagging::TagSet tags = *tagging::TagSet::FromTags(kTags);
  const ExampleSet made =
      *MakeExamples(LongSentence(), checkpoint::TaskKind::kTokenClassification, kTags, 6, Letters(), 2);
  EXPECT_FALSE(SentenceEntityF1(tags, SentencePlaces())(made.examples, {}).ok());
}

TEST(CutWarning, SaysWhatWouldHelp) {
  EXPECT_EQ(CutWarning(0, 9, "training texts", 128, 512), std::nullopt);
  EXPECT_EQ(CutWarning(3, 9, "training texts", 128, 512),
            "TEXTS_CUT: 3 of 9 training texts are cut at max_length=128 tokens; raise it to use all of them");
  EXPECT_EQ(CutWarning(3, 9, "training texts", 512, 512),
            "TEXTS_CUT: 3 of 9 training texts are cut at the 512 tokens that the model takes");
}

}  // namespace
}  // namespace engram::examples
