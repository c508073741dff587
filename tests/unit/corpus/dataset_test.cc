#include "core/corpus/dataset.h"

#include <malloc.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "core/base/files.h"
#include "nlohmann/json.hpp"
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
  const TaggedSentence s = d.sentences[0];
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

// nlohmann's own writer of whole rows says what a stored row is.
TEST(Dataset, WhatIsStoredIsJsonInOneOrderOfKeys) {
  using Json = nlohmann::ordered_json;
  const auto line = [](std::initializer_list<std::pair<const char*, Json>> items) {
    Json row;
    for (const auto& [key, value] : items) row[key] = value;
    return row.dump() + "\n";
  };
  const std::string odd = "say \"\\\" \x01\x7f\n\t/ \u00e9 \U0001F600";
  Dataset dataset;
  dataset.texts = {odd, ""};
  EXPECT_EQ(RenderCanonical(dataset), line({{"text", odd}}) + line({{"text", ""}}));
  dataset.kind = DatasetKind::kClassification;
  dataset.labels = {odd, "x"};
  EXPECT_EQ(RenderCanonical(dataset), line({{"text", odd}, {"label", odd}}) + line({{"text", ""}, {"label", "x"}}));
  dataset.kind = DatasetKind::kPairs;
  dataset.second_texts = {"b", odd};
  EXPECT_EQ(RenderCanonical(dataset), line({{"text", odd}, {"second_text", "b"}, {"label", odd}}) +
                                          line({{"text", ""}, {"second_text", odd}, {"label", "x"}}));
  dataset.kind = DatasetKind::kTagging;
  dataset.sentences.push_back({"a  b", {"a", "b"}, {"B-x", "O"}});
  dataset.sentences.push_back({odd, {odd}, {"O"}});
  const Json two = Json::array({"a", "b"}), tags = Json::array({"B-x", "O"}), one = Json::array({odd});
  EXPECT_EQ(RenderCanonical(dataset), line({{"text", "a  b"}, {"words", two}, {"tags", tags}}) +
                                          line({{"text", odd}, {"words", one}, {"tags", Json::array({"O"})}}));
  dataset.kind = DatasetKind::kWordTags;
  EXPECT_THAT(RenderCanonical(dataset), HasSubstr(line({{"text", "a  b"}, {"words", two}, {"word_tags", tags}})));
}

TEST(Dataset, WhatIsStoredComesInPieces) {
  Dataset dataset;
  for (int i = 0; i < 40'000; ++i) dataset.texts.push_back("row " + std::to_string(i));
  size_t largest = 0;
  std::string joined;
  ASSERT_TRUE(RenderCanonical(dataset, [&](std::string_view piece) {
                largest = std::max(largest, piece.size());
                joined += piece;
                return absl::OkStatus();
              }).ok());
  EXPECT_EQ(joined, RenderCanonical(dataset));
  EXPECT_LT(largest, joined.size() / 2);
  EXPECT_EQ(RenderCanonical(dataset, [](std::string_view) { return absl::DataLossError("full"); }).message(), "full");
}

TEST(Dataset, RowsAreCountedAsTheyCome) {
  ReadLimits limits;
  limits.max_rows = 2;
  const std::pair<const char*, std::vector<std::string>> files[] = {
      {"t.txt", {"a\n", "b\n", "c\n"}},
      {"t.csv", {"text,label\na,x\n", "b,y\n", "c,x\n"}},
      {"t.jsonl", {"{\"text\": \"a\"}\n", "{\"text\": \"b\"}\n", "{\"text\": \"c\"}\n"}},
      {"t.ft", {"__label__x a\n", "__label__y b\n", "__label__y c\n"}},
      {"t.conll", {"a B-x\n\n", "b O\n\n", "c O\n\n"}},
      {"tags.jsonl",
       {"{\"words\": [\"a\"], \"tags\": [\"B-x\"]}\n", "{\"words\": [\"b\"], \"tags\": [\"O\"]}\n",
        "{\"words\": [\"c\"], \"tags\": [\"O\"]}\n"}}};
  for (const auto& [name, rows] : files) {
    const auto two = ReadDataset(rows[0] + rows[1], name, "training", {}, limits);
    ASSERT_TRUE(two.ok()) << name << two.status();
    EXPECT_EQ(two->dataset.size(), 2) << name;
    std::string many = rows[0] + rows[1];
    for (int i = 0; i < 100; ++i) many += rows[2];
    EXPECT_THAT(std::string(ReadDataset(many, name, "training", {}, limits).status().message()),
                HasSubstr("holds more than 2 rows"))
        << name;
  }
}

TEST(Dataset, LabelsAreBounded) {
  const auto table = [](int labels) {
    std::string file = "text,label\n";
    for (int i = 0; i < labels; ++i) file += "a,l" + std::to_string(i) + "\n";
    return file;
  };
  EXPECT_EQ(DistinctLabels(Parse(table(10'000), "t.csv")).size(), 10'000U);
  EXPECT_THAT(RefusalText(table(10'001), "t.csv"), HasSubstr("10001 different labels"));
  ReadOptions text;
  text.kind = DatasetKind::kText;
  EXPECT_EQ(Parse(table(10'001), "t.csv", text).size(), 10'001);
  std::string tags;
  for (int i = 0; i < 50'001; ++i) tags += "a\tB-" + std::to_string(i) + "\n";
  EXPECT_THAT(RefusalText(tags, "t.conll"), HasSubstr("line 50001 has a tag that is the 50001th different one"));
  EXPECT_THAT(RefusalText(tags.substr(0, 200'000), "t.conll"), HasSubstr("different tags or types"));
}

// A std::string for each cell and vectors for each sentence took 75 and 240 bytes a row beside the file's.
TEST(Dataset, SmallRowsTakeLittleMemory) {
  constexpr size_t kRows = 250'000;
  const auto held = [] {
    const auto info = mallinfo2();
    return info.uordblks + info.hblkhd;
  };
  const auto repeated = [](std::string file, std::string_view row) {
    for (size_t i = 0; i < kRows; ++i) file += row;
    return file;
  };
  for (const auto& [name, file, most] : {std::tuple("t.csv", repeated("text,label\n", "a,b\n"), 24),
                                         std::tuple("t.conll", repeated("a B-x\n\n", "a O\n\n"), 24)}) {
    const size_t before = held();
    const Reading reading = Read(file, name);
    ASSERT_GE(reading.dataset.size(), static_cast<int64_t>(kRows));
    EXPECT_LT((held() - before) / kRows, static_cast<size_t>(most)) << name;
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
