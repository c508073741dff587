// Pairs of texts with a label, and tags of words that make no entities.

#include <string>
#include <vector>

#include "tests/unit/corpus/reading_helpers.h"

namespace engram::corpus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// "first | second -> label" for each row.
std::vector<std::string> Pairs(const Dataset& dataset) {
  EXPECT_EQ(dataset.kind, DatasetKind::kPairs);
  EXPECT_EQ(dataset.second_texts.size(), dataset.texts.size());
  EXPECT_EQ(dataset.labels.size(), dataset.texts.size());
  std::vector<std::string> rows;
  for (size_t i = 0; i < dataset.texts.size(); ++i)
    rows.push_back(std::string(dataset.texts[i]) + " | " + std::string(dataset.second_texts[i]) + " -> " +
                   std::string(dataset.labels[i]));
  return rows;
}

// Options with some of their members set.
template <typename Set>
ReadOptions With(const Set& set) {
  ReadOptions options;
  set(options);
  return options;
}

ReadOptions OfKind(DatasetKind kind) {
  return With([&](ReadOptions& o) { o.kind = kind; });
}

std::string Role(const Reading& reading, const std::string& column) {
  for (const auto& [name, role] : reading.columns) {
    if (name == column) return role;
  }
  return "";
}

TEST(Pairs, KnownNamesMakeThemWhereverTheyStand) {
  for (const auto& [first, second] : std::vector<std::pair<std::string, std::string>>{{"text_a", "text_b"},
                                                                                      {"sentence1", "sentence2"},
                                                                                      {"Premise", "Hypothesis"},
                                                                                      {"question", "answer"},
                                                                                      {"question", "sentence"},
                                                                                      {"query", "passage"},
                                                                                      {"claim", "evidence"}}) {
    const Reading table = Read(second + "\tid\t" + first + "\tlabel\nb\t1\ta\tno\nd\t2\tc\tyes\n", "t.tsv");
    EXPECT_THAT(Pairs(table.dataset), ElementsAre("a | b -> no", "c | d -> yes")) << first;
    EXPECT_EQ(Role(table, first), "text");
    EXPECT_EQ(Role(table, second), "second text");
    const Reading json = Read("{\"" + second + "\": \"b\", \"label\": 0, \"" + first + "\": \"a\"}\n", "t.jsonl");
    EXPECT_THAT(Pairs(json.dataset), ElementsAre("a | b -> 0")) << first;
    EXPECT_EQ(Role(json, second), "second text");
  }
}

TEST(Pairs, AreNamedWhereTheirNamesAreNot) {
  ReadOptions options;
  options.text_column = "left";
  options.pair_column = "right";
  EXPECT_THAT(Pairs(Parse("right,left,label\nb,a,no\n", "t.csv", options)), ElementsAre("a | b -> no"));
  EXPECT_THAT(Pairs(Parse("{\"left\": \"a\", \"right\": \"b\", \"label\": \"no\"}", "t.json", options)),
              ElementsAre("a | b -> no"));
  options = With([](ReadOptions& o) {
    o.text_column = "3";
    o.label_column = "1";
    o.pair_column = "2";
  });
  EXPECT_THAT(Pairs(Parse("no\tb\ta\n", "t.tsv", options)), ElementsAre("a | b -> no"));
  options = With([](ReadOptions& o) { o.pair_column = "sentence2"; });
  EXPECT_THAT(Pairs(Parse("sentence2,title,label\nb,a,no\n", "t.csv", options)), ElementsAre("a | b -> no"));
  options.label_column = "verdict";
  const Reading reading = Read("sentence1,sentence2,verdict,note\na,b,no,x\n", "t.csv", options);
  EXPECT_THAT(Pairs(reading.dataset), ElementsAre("a | b -> no"));
  EXPECT_THAT(NoteOf(reading.notes, "COLUMNS_NOT_READ"), HasSubstr("\"note\""));
}

TEST(Pairs, WhatIsOpenIsRefusedWithTheOptionThatHelps) {
  const char* both = "--text-column, or the two of a pair with --text-column and --pair-column";
  // Two texts that are no pair, three texts, two possible pairs.
  for (const char* header :
       {"title,description,label", "premise,hypothesis,title,label", "question,answer,context,label"})
    EXPECT_THAT(RefusalText(std::string(header) + "\n", "t.csv"), HasSubstr(both)) << header;
  EXPECT_THAT(RefusalText("{\"title\": \"a\", \"content\": \"b\", \"label\": 1}", "t.jsonl"), HasSubstr(both));
  EXPECT_THAT(RefusalText("premise,hypothesis\na,b\n", "t.csv"), HasSubstr("--label-column"));
  EXPECT_THAT(RefusalText("{\"premise\": \"a\", \"hypothesis\": \"b\"}", "t.jsonl"), HasSubstr("--label-column"));
  EXPECT_THAT(RefusalText("premise,hypothesis,label,score\na,b,no,1\n", "t.csv"), HasSubstr("\"score\""));
  EXPECT_THAT(RefusalText("premise,hypothesis,label\na, ,no\n", "t.csv"), HasSubstr("no second text"));
  EXPECT_THAT(RefusalText("{\"premise\": \"a\", \"hypothesis\": \" \", \"label\": 1}", "t.jsonl"),
              HasSubstr("empty \"hypothesis\""));
  EXPECT_THAT(RefusalText("{\"premise\": \"a\", \"hypothesis\": 7, \"label\": 1}", "t.jsonl"),
              HasSubstr("\"hypothesis\" that is no string"));
  EXPECT_THAT(RefusalText("{\"texts\": [\"a\", \"b\"], \"label\": 1}", "t.jsonl"), HasSubstr("\"text1\", \"text2\""));
  // A kind of single texts asks for one of the two.
  EXPECT_THAT(RefusalText("premise,hypothesis,label\na,b,no\n", "t.csv", OfKind(DatasetKind::kClassification)),
              HasSubstr("--text-column"));
  EXPECT_THAT(Labelled(Parse("premise,hypothesis,label\na,b,no\n", "t.csv", With([](ReadOptions& o) {
                               o.text_column = "hypothesis";
                               o.label_column = "label";
                             }))),
              ElementsAre("b -> no"));
  EXPECT_THAT(RefusalText("text,label\na,no\n", "t.csv", OfKind(DatasetKind::kPairs)), HasSubstr("pairs"));
  EXPECT_THAT(RefusalText("{\"text\": \"a\", \"label\": 1}", "t.jsonl", OfKind(DatasetKind::kPairs)),
              HasSubstr("--pair-column"));
}

// Public sets in their own spelling: refused, and read with the options that the refusal names.
TEST(Pairs, PublicSetsAreReadWithTheOptionsThatTheErrorNames) {
  struct PublicSet {
    const char *name, *file, *said, *text, *pair, *label, *row;
  };
  constexpr PublicSet kSets[] = {
      {"msr_paraphrase_train.tsv",
       "\uFEFFQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t702\t703\tHe \"saw it.\tIt was seen.\n0\t1\t2\tA\tB\n",
       "--pair-column", "#1 String", "#2 String", "Quality", "He \"saw it. | It was seen. -> 1"},
      {"sts-dev.tsv",
       "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
       "0\tmain\tMSR\t2012\t1\tnone\tnone\tA man eats.\tA man has a meal.\t4.750\n",
       "--label-column", "", "", "score", "A man eats. | A man has a meal. -> 4.750"},
      {"boolq.jsonl", "{\"question\": \"is it so\", \"title\": \"It\", \"answer\": true, \"passage\": \"It is so.\"}\n",
       "--pair-column", "question", "passage", "answer", "is it so | It is so. -> true"},
      {"snli_1.0_dev.jsonl",
       "{\"annotator_labels\": [\"neutral\"], \"captionID\": \"1.jpg#0\", \"gold_label\": \"neutral\", \"pairID\": "
       "\"1n\", \"sentence1\": \"Two women.\", \"sentence1_binary_parse\": \"( Two women. )\", \"sentence2\": "
       "\"Sisters.\"}\n",
       "--label-column", "", "", "gold_label", "Two women. | Sisters. -> neutral"},
  };
  for (const PublicSet& set : kSets) {
    EXPECT_THAT(RefusalText(set.file, set.name), HasSubstr(set.said)) << set.name;
    const ReadOptions options = With([&](ReadOptions& o) {
      o.text_column = set.text;
      o.pair_column = set.pair;
      o.label_column = set.label;
    });
    const std::vector<std::string> rows = Pairs(Parse(set.file, set.name, options));
    ASSERT_FALSE(rows.empty()) << set.name;
    EXPECT_EQ(rows[0], set.row);
  }
}

TEST(Pairs, RowsAreTheSameWhereBothTextsAre) {
  const Dataset training = Parse("premise,hypothesis,label\na,b,no\na,c,yes\na,b,yes\n", "t.csv");
  EXPECT_EQ(CountOf(OddRows(training), "LABELS_CONFLICT"), 1);
  EXPECT_THAT(NoteOf(OddRows(training), "LABELS_CONFLICT"), HasSubstr("\"a\" with \"b\""));
  const Dataset test = Parse("premise,hypothesis,label\nb,a,no\na,c,yes\n", "t.csv");
  EXPECT_EQ(CountOf(SharedRows(training, test, "test"), "TEST_IN_TRAINING"), 1);
  EXPECT_FALSE(CheckFurtherPart(training, Parse("text,label\na,no\n", "t.csv"), "test").ok());
  EXPECT_TRUE(CheckFurtherPart(training, test, "test").ok());
}

TEST(Pairs, AreStoredAndReadAgain) {
  const Dataset dataset = Parse("premise,hypothesis,label\n\"a, 😀\",b,no\nc,d,yes\n", "t.csv");
  const auto back = ParseCanonical(RenderCanonical(dataset));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(Pairs(*back), Pairs(dataset));
  EXPECT_FALSE(ParseCanonical("{\"text\":\"a\",\"second_text\":\"b\"}\n").ok());
  EXPECT_FALSE(
      ParseCanonical("{\"text\":\"a\",\"second_text\":\"b\",\"label\":\"x\"}\n{\"text\":\"a\",\"label\":\"x\"}\n")
          .ok());
}

constexpr const char* kConllu =
    "# newpar with as many words as there are columns\n"
    "# text = Vámonos al mar\n"
    "1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "1\tVamos\tir\tVERB\tv\t_\t0\troot\t_\t_\n"
    "2\tnos\tnosotros\tPRON\tp\t_\t1\tobj\t_\t_\n"
    "3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "3\ta\ta\tADP\ts\t_\t5\tcase\t_\t_\n"
    "4\tel\tel\tDET\td\t_\t5\tdet\t_\t_\n"
    "5\tmar\tmar\tNOUN\tn\t_\t1\tobl\t_\t_\n"
    "5.1\tvamos\tir\tVERB\tv\t_\t_\t_\t_\t_\n"
    "\n"
    "1\t#\t#\tSYM\ty\t_\t0\troot\t_\t_\n";

const ReadOptions kWordTags = OfKind(DatasetKind::kWordTags);

TEST(WordTags, OfConllu) {
  const Reading reading = Read(kConllu, "es.conllu", kWordTags);
  EXPECT_EQ(reading.dataset.kind, DatasetKind::kWordTags);
  EXPECT_THAT(Tagged(reading.dataset), ElementsAre("Vamos/VERB nos/PRON a/ADP el/DET mar/NOUN", "#/SYM"));
  EXPECT_EQ(CountOf(reading.notes, "TOKENS_OF_WORDS"), 3);
  ReadOptions other = kWordTags;
  other.tag_column = "5";
  EXPECT_THAT(Tagged(Parse(kConllu, "es.conllu", other))[1], "#/y");
  EXPECT_THAT(RefusalText(kConllu, "es.conllu"), HasSubstr("--kind word-tags"));
}

TEST(WordTags, OfColumnsAndLists) {
  EXPECT_THAT(Tagged(Parse("The DT\n, ,\n$ $\n\nruns VBZ\n", "pos.txt", kWordTags)),
              ElementsAre("The/DT ,/, $/$", "runs/VBZ"));
  EXPECT_THAT(Tagged(Parse("word\tpos\tlemma\nruns\tVBZ\trun\nit\tPRP\tit\n", "pos.tsv", kWordTags)),
              ElementsAre("runs/VBZ it/PRP"));
  EXPECT_THAT(Tagged(Parse("{\"tokens\": [\"It\", \"runs\"], \"upos\": [\"PRON\", \"VERB\"]}", "t.jsonl", kWordTags)),
              ElementsAre("It/PRON runs/VERB"));
  EXPECT_THAT(RefusalText("{\"tokens\": [\"It\"], \"upos\": [\"PRON\"], \"ner_tags\": [\"O\"]}", "t.jsonl", kWordTags),
              HasSubstr("--tag-column"));
  // Entities are no tags of words.
  EXPECT_THAT(RefusalText("Ada B-PER\nruns O\n", "t.conll", kWordTags), HasSubstr("tags of entities"));
  EXPECT_THAT(RefusalText("Ada\t\nruns V\n", "t.conll", kWordTags), HasSubstr("column"));
}

// The scheme IO has O and bare types; what could be a slip of another scheme stays an error.
TEST(BareTypes, AreEntitiesBesideO) {
  const Reading reading = Read("Ada person-actor\nBerg person-actor\nin O\nOslo place\nBergen other\n", "t.conll");
  EXPECT_THAT(Tagged(reading.dataset),
              ElementsAre("Ada/B-person-actor Berg/I-person-actor in/O Oslo/B-place Bergen/B-other"));
  EXPECT_EQ(CountOf(reading.notes, "TYPES_WITHOUT_PREFIX"), 3);
  EXPECT_THAT(Tagged(Parse("{\"words\": [\"Ada\", \"runs\"], \"tags\": [\"PER\", \"O\"]}", "t.jsonl")),
              ElementsAre("Ada/B-PER runs/O"));
  for (const char* tag : {"B_PER", "b-per", "PER-B", "0", "B-"})
    EXPECT_FALSE(Refusal(std::string("Ada ") + tag + "\nruns O\n", "t.conll").ok()) << tag;
  EXPECT_FALSE(Refusal("Ada PER\nruns O\nBerg B-PER\n", "t.conll").ok());
  EXPECT_FALSE(Refusal("Ada PER\nOslo LOC\n", "t.conll").ok());  // no O: parts of speech as well
}

TEST(PlainText, TagsInItsLinesAreNotLost) {
  EXPECT_THAT(RefusalText("Ada/B-PER runs/O\nand/O or/O\n", "t.txt"), HasSubstr("behind a slash"));
  EXPECT_EQ(Parse("and/or is O\nAda/B-PER runs\n", "t.txt").texts.size(), 2U);
  EXPECT_EQ(Parse("note: one\ntwo\n", "t.txt").texts.size(), 2U);
  EXPECT_EQ(Labelled(Parse("\xEF\xBB\xBF\xEF\xBB\xBFtext,label\na,x\n", "t.csv")), std::vector<std::string>{"a -> x"});
}

TEST(WordTags, AreCountedStoredAndReadAgain) {
  const Dataset dataset = Parse("a DT\ndog NN\n\nruns VBZ\na DT\n", "t.conll", kWordTags);
  EXPECT_THAT(DistinctLabels(dataset), ElementsAre("DT", "NN", "VBZ"));
  EXPECT_EQ(CountLabels(dataset)[0], (std::pair<std::string, int64_t>("DT", 2)));
  EXPECT_TRUE(CheckTrainingPart(dataset).ok());
  EXPECT_FALSE(CheckTrainingPart(Parse("a DT\n", "t.conll", kWordTags)).ok());
  const auto back = ParseCanonical(RenderCanonical(dataset));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->kind, DatasetKind::kWordTags);
  EXPECT_EQ(Tagged(*back), Tagged(dataset));
  EXPECT_THAT(CheckFurtherPart(Parse("Ada B-PER\n", "t.conll"), dataset, "test").message(), HasSubstr("kind"));
}

}  // namespace
}  // namespace engram::corpus
