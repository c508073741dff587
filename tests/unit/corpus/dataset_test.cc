#include "core/corpus/dataset.h"

#include "core/base/files.h"
#include "tests/unit/corpus/reading_helpers.h"

namespace engram::corpus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Dataset, ShippedSamplesParse) {
  const std::string folder = ENGRAM_TEST_DATA;
  const Dataset banking = Parse(*ReadFile(folder + "/banking77.train.jsonl.gz"), "banking77.train.jsonl.gz");
  EXPECT_EQ(banking.size(), 2000);
  EXPECT_EQ(DistinctLabels(banking).size(), 77);
  const Dataset wnut = Parse(*ReadFile(folder + "/wnut17.train.conll.gz"), "wnut17.train.conll.gz");
  EXPECT_EQ(wnut.size(), 3394);
  EXPECT_THAT(DistinctLabels(wnut),
              ElementsAre("corporation", "creative-work", "group", "location", "person", "product"));
}

TEST(Dataset, TheSameRowsInEveryFormatAreTheSameDataSet) {
  const Dataset jsonl =
      Parse("{\"text\": \"a, b\", \"label\": \"x\"}\n\n{\"label\": 2, \"text\": \"say \\\"c\\\"\\nd\"}\n", "t.jsonl");
  const Dataset csv = Parse("\xEF\xBB\xBFlabel,text,id\r\nx,\"a, b\",1\r\n2,\"say \"\"c\"\"\nd\",2\r\n", "T.CSV");
  const Dataset tsv = Parse("text\tlabel\na, b\tx\n\"say \"\"c\"\"\nd\"\t2", "t.tsv");
  EXPECT_EQ(RenderCanonical(jsonl), RenderCanonical(csv));
  EXPECT_EQ(RenderCanonical(jsonl), RenderCanonical(tsv));
  const auto back = ParseCanonical(RenderCanonical(jsonl));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(RenderCanonical(*back), RenderCanonical(jsonl));
}

TEST(Dataset, EntitiesInCodePointsBecomeTagsOfWords) {
  const Dataset d =
      Parse(R"({"text": "😀 Ada Lovelace's Paris-based firm", "entities": [{"start": 2, "end": 14, "label": "person"}, )"
            R"({"start": 17, "end": 22, "label": "place"}]})"
            "\n",
            "t.jsonl");
  ASSERT_EQ(d.kind, DatasetKind::kTagging);
  const TaggedSentence& s = d.sentences[0];
  std::vector<std::string> entities;
  for (size_t i = 0; i < s.words.size(); ++i) {
    if (s.tags[i] != "O") entities.push_back(s.words[i] + "/" + s.tags[i]);
  }
  EXPECT_THAT(entities, ElementsAre("Ada/B-person", "Lovelace/I-person", "Paris/B-place"));
}

TEST(Dataset, ConllSchemesAndColumns) {
  const Dataset d =
      Parse("-DOCSTART- -X- O\n\nJohn NNP I-per\nSmith NNP I-per\n\nin IN O\nRome NNP I-loc\n", "t.conll");
  ASSERT_EQ(d.size(), 2);
  EXPECT_THAT(d.sentences[0].tags, ElementsAre("B-per", "I-per"));
  EXPECT_EQ(d.sentences[1].text, "in Rome");
}

TEST(Dataset, RefusalsNameTheLine) {
  EXPECT_EQ(StatusField(Refusal("", "t.jsonl")), "training");
  EXPECT_EQ(StatusField(Refusal("\n\n", "t.txt")), "training");
  EXPECT_EQ(StatusField(Refusal("{}", "t.parquet")), "training_file");
  EXPECT_EQ(StatusField(Refusal("{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"\xff\"}\n", "t.jsonl")),
            "training line 2");
  EXPECT_EQ(StatusField(Refusal("{\"text\": \"a\", \"label\": \"x\"}\n{\"label\": \"x\"}\n", "t.jsonl")),
            "training line 2");
  EXPECT_EQ(StatusField(Refusal("{\"text\": \" \", \"label\": \"x\"}\n", "t.jsonl")), "training line 1");
  EXPECT_EQ(StatusField(Refusal("a,b\n1,2\n", "t.csv")), "training line 1");
  EXPECT_EQ(StatusField(Refusal("text,label\n\"a,b\n", "t.csv")), "training line 2");
  EXPECT_EQ(StatusField(Refusal("text,label\na\n", "t.csv")), "training line 2");
  EXPECT_EQ(StatusField(Refusal("word\n", "t.conll")), "training line 1");
  EXPECT_EQ(StatusField(Refusal("a B-x\nb Q-x\n", "t.conll")), "training line 2");
  EXPECT_EQ(StatusField(Refusal(R"({"text": "abc", "entities": [{"start": 1, "end": 9, "label": "x"}]})", "t.jsonl")),
            "training line 1");
  EXPECT_THAT(
      std::string(
          Refusal(
              R"({"text": "a b c", "entities": [{"start": 0, "end": 3, "label": "x"}, {"start": 2, "end": 4, "label": "y"}]})",
              "t.jsonl")
              .message()),
      HasSubstr("overlap"));
}

TEST(Dataset, NothingIsTakenThatIsThereTwice) {
  EXPECT_THAT(std::string(Refusal("{\"text\": \"a\", \"label\": \"x\", \"label\": \"y\"}\n", "t.jsonl").message()),
              HasSubstr("line 1 has \"label\" twice"));
  EXPECT_EQ(StatusField(Refusal("\ntext,label,Text\na,b,c\n", "t.csv")), "training line 2");
  EXPECT_THAT(std::string(Refusal("text\tlabel\tlabel\na\tb\tc\n", "t.tsv").message()), HasSubstr("twice"));
  EXPECT_THAT(std::string(Refusal(R"({"words": ["a"], "tags": ["O"], "text": 7})", "t.jsonl").message()),
              HasSubstr("line 1 has a \"text\" that is no string"));
}

TEST(Dataset, NothingFollowsARow) {
  using std::string_literals::operator""s;
  const std::string hidden = "{\"text\": \"a\"}\n{\"text\": \"b\"}\0 {\"text\": \"c\"}\n"s;
  EXPECT_EQ(StatusField(Refusal(hidden, "t.jsonl")), "training line 2");
  EXPECT_EQ(StatusField(Refusal("{\"text\": \"a\"} {\"text\": \"b\"}\n", "t.jsonl")), "training line 1");
}

TEST(Dataset, LinesOfConllAreThoseOfTheFile) {
  ReadOptions strict;
  strict.strict = true;
  const std::string message = RefusalText("\n\na B-x\nword\nb Q-x\n\nc O\nd Iy\n", "t.conll");
  EXPECT_THAT(message, HasSubstr("line 4 has one column only"));
  EXPECT_THAT(message, HasSubstr("line 5 tag \"Q-x\""));
  EXPECT_THAT(message, HasSubstr("line 8 tag \"Iy\""));
  EXPECT_THAT(RefusalText("\n\na B-x\n\nc O\nd I-y\n", "t.conll", strict), HasSubstr("line 6 tag \"I-y\""));
}

TEST(Dataset, ManyBadRowsAreCountedAndTwentyShown) {
  std::string text;
  for (int i = 0; i < 30; ++i) text += "not json\n";
  const std::string message(Refusal(text, "t.jsonl").message());
  EXPECT_THAT(message, HasSubstr("30 rows"));
  EXPECT_THAT(message, HasSubstr("line 20 "));
  EXPECT_THAT(message, HasSubstr("10 more"));
}

TEST(Dataset, PartsThatTeachNothingOrDoNotFit) {
  const Dataset one = Parse("{\"text\": \"a\", \"label\": \"x\"}\n", "t.jsonl");
  EXPECT_EQ(StatusField(CheckTrainingPart(one)), "training");
  const Dataset two = Parse("{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"b\", \"label\": \"y\"}\n", "t.jsonl");
  EXPECT_TRUE(CheckTrainingPart(two).ok());
  const Dataset other = Parse("{\"text\": \"a\", \"label\": \"z\"}\n", "t.jsonl");
  EXPECT_THAT(std::string(CheckFurtherPart(two, other, "test").message()), HasSubstr("\"z\""));
  EXPECT_FALSE(CheckFurtherPart(two, Parse("plain\n", "t.txt"), "validation").ok());
}

TEST(Dataset, WhatIsStoredIsReadBackOrIsDamaged) {
  for (const Dataset& dataset : {Parse("a\nb\n", "t.txt"), Parse("text,label\n\"a\nb\",x\nc,y\n", "t.csv"),
                                 Parse("a B-x\nb I-x\n\n\u00a0 O\nd O\n", "t.conll")}) {
    const auto back = ParseCanonical(RenderCanonical(dataset));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(back->kind, dataset.kind);
    EXPECT_EQ(RenderCanonical(*back), RenderCanonical(dataset));
  }
  for (const char* damaged :
       {"{\"text\": \"a\"}\n{\"text\"", "{\"text\": \"a\"}\n{\"text\": \"a\", \"label\": \"x\"}\n",
        "{\"label\": \"x\"}\n", R"({"text": "a", "words": ["a"], "tags": ["I-x"]})",
        R"({"text": "a", "words": ["a", "b"], "tags": ["O"]})", R"({"text": "a", "words": ["a"], "tags": ["x"]})",
        "\n"}) {
    EXPECT_EQ(ParseCanonical(damaged).status().code(), absl::StatusCode::kDataLoss) << damaged;
  }
}

TEST(Dataset, ABombIsNotInflated) {
  ReadLimits limits;
  limits.max_bytes = 1000;
  EXPECT_FALSE(ReadDataset(*ReadFile(std::string(ENGRAM_TEST_DATA) + "/banking77.train.jsonl.gz"), "t.jsonl.gz",
                           "training", {}, limits)
                   .ok());
}

}  // namespace
}  // namespace engram::corpus
