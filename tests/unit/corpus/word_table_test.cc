// One word in each row of a table, as Kaggle's ner_dataset.csv and simpletransformers have it.

#include <algorithm>

#include "tests/unit/corpus/reading_helpers.h"

namespace engram::corpus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

ReadOptions Columns(const std::string& word, const std::string& tag) {
  ReadOptions options;
  options.word_column = word;
  options.tag_column = tag;
  return options;
}

constexpr const char* kKaggle =
    "Sentence #,Word,POS,Tag\n"
    "Sentence: 1,Oslo,NNP,B-geo\n"
    ",is,VBZ,O\n"
    ",\"\"\"\",``,O\n"
    "Sentence: 2,Ada,NNP,B-per\n"
    ",Berg,NNP,I-per\n";

TEST(WordTable, AnEmptyCellIsTheSameSentence) {
  const Reading r = Read(kKaggle, "ner_dataset.csv", Columns("Word", "Tag"));
  EXPECT_THAT(Tagged(r.dataset), ElementsAre("Oslo/B-geo is/O \"/O", "Ada/B-per Berg/I-per"));
  EXPECT_EQ(r.dataset.sentences.text(0), "Oslo is \"");
  EXPECT_EQ(r.format, "csv");
  EXPECT_THAT(r.columns, ElementsAre(Pair("Sentence #", "sentences"), Pair("Word", "words"), Pair("POS", "not read"),
                                     Pair("Tag", "tags")));
  EXPECT_THAT(NoteOf(r.notes, "COLUMNS_NOT_READ"), HasSubstr("\"POS\""));
  // The same by numbers, and with --tag-column alone.
  EXPECT_EQ(Tagged(Parse(kKaggle, "t.csv", Columns("2", "4"))), Tagged(r.dataset));
  EXPECT_EQ(Tagged(Parse(kKaggle, "t.csv", Columns("", "tag"))), Tagged(r.dataset));
  // Without an option the parts of speech would be lost in silence.
  const std::string refusal = RefusalText(kKaggle, "t.csv");
  EXPECT_THAT(refusal, HasSubstr("would not be read: \"POS\""));
  EXPECT_THAT(refusal, HasSubstr("--tag-column"));
}

TEST(WordTable, PartsOfSpeechAreTagsOfWords) {
  ReadOptions options = Columns("Word", "POS");
  options.kind = DatasetKind::kWordTags;
  const Reading r = Read(kKaggle, "t.csv", options);
  EXPECT_EQ(r.dataset.kind, DatasetKind::kWordTags);
  EXPECT_THAT(Tagged(r.dataset), ElementsAre("Oslo/NNP is/VBZ \"/``", "Ada/NNP Berg/NNP"));
}

TEST(WordTable, KnownNamesNeedNoOption) {
  const std::vector<std::string> expected = {"Ada/B-PER ran/O", "In/O Oslo/B-LOC"};
  for (const char separator : {',', ';', '\t', '|'}) {
    std::string file = "sentence_id,words,labels\n0,Ada,B-PER\n0,ran,O\n1,In,O\n1,Oslo,B-LOC\n";
    std::replace(file.begin(), file.end(), ',', separator);
    for (const char* name : {"t.csv", "t.tsv"})
      EXPECT_EQ(Tagged(Parse(file, name)), expected) << separator << " in " << name;
  }
  // Row numbers are no annotation; IOB1 is read as everywhere.
  EXPECT_EQ(
      Tagged(Parse("Unnamed: 0,sentence_id,token,tag\n0,7,Ada,I-PER\n1,7,ran,O\n2,9,In,O\n3,9,Oslo,I-LOC\n", "t.csv")),
      expected);
}

TEST(WordTable, TheFirstColumnWhoseValuesStandInRunsPartsTheSentences) {
  const std::string file = "n,doc,w,t\n1,a,Ada,B-PER\n2,a,ran,O\n3,b,In,O\n4,b,Oslo,B-LOC\n";
  const Reading r = Read(file, "t.csv", Columns("w", "t"));
  EXPECT_THAT(Tagged(r.dataset), ElementsAre("Ada/B-PER ran/O", "In/O Oslo/B-LOC"));
  EXPECT_THAT(r.columns,
              ElementsAre(Pair("n", "not read"), Pair("doc", "sentences"), Pair("w", "words"), Pair("t", "tags")));
  // A value that comes again names no sentence.
  EXPECT_THAT(RefusalText("doc,w,t\na,Ada,B-PER\na,ran,O\nb,In,O\na,Oslo,B-LOC\n", "t.csv", Columns("w", "t")),
              HasSubstr("nothing that tells where a sentence begins"));
}

TEST(WordTable, EmptyLinesAndRowsPartSentences) {
  const std::vector<std::string> expected = {"Ada/B-PER ran/O", "In/O Oslo/B-LOC"};
  EXPECT_EQ(Tagged(Parse("word,tag\nAda,B-PER\nran,O\n\nIn,O\nOslo,B-LOC\n", "t.csv")), expected);
  EXPECT_EQ(Tagged(Parse("word,tag\nAda,B-PER\nran,O\n,\nIn,O\nOslo,B-LOC\n", "t.csv")), expected);
  EXPECT_EQ(Tagged(Parse("Ada,B-PER\nran,O\n\nIn,O\nOslo,B-LOC\n", "t.csv", Columns("1", "2"))), expected);
  EXPECT_THAT(RefusalText("word,tag\nAda,B-PER\nran,O\nIn,O\nOslo,B-LOC\n", "t.csv"), HasSubstr("sentence_id"));
  // With tabs an empty line parts sentences as in CoNLL.
  EXPECT_EQ(Tagged(Parse("word\ttag\nAda\tB-PER\nran\tO\n\nIn\tO\nOslo\tB-LOC\n", "t.tsv")), expected);
  // A line end inside of a cell is no empty line.
  EXPECT_THAT(RefusalText("word,tag,x\nAda,B-PER,\"a\n\nb\"\nran,O,c\n", "t.csv", Columns("word", "tag")),
              HasSubstr("sentence_id"));
}

TEST(WordTable, RowsAreRefusedByLine) {
  EXPECT_THAT(RefusalText("sentence_id,word,tag\n1,Ada,B-PER\n1,,O\n", "t.csv"), HasSubstr("line 3 has no word"));
  EXPECT_THAT(RefusalText("sentence_id,word,tag\n1,Ada,B-PER\n1,ran,\n", "t.csv", Columns("word", "tag")),
              HasSubstr("line 3 has no tag"));
  EXPECT_THAT(RefusalText("sentence_id,word,tag\n1,Ada,B-PER\n1,ran,O,x\n", "t.csv"), HasSubstr("line 3 has 4 cells"));
  EXPECT_THAT(RefusalText("sentence_id,word,tag\n1,Ada,B-PER\n1,ran,XY\n", "t.csv", Columns("word", "tag")),
              HasSubstr("line 3"));
  const Reading r = Read("sentence_id,word,tag\n1,Ada,B-PER\nsentence_id,word,tag\n2,-DOCSTART-,O\n2,ran,O\n", "t.csv");
  EXPECT_THAT(Tagged(r.dataset), ElementsAre("Ada/B-PER", "ran/O"));
  EXPECT_THAT(NoteOf(r.notes, "HEADER_REPEATED"), HasSubstr("line 3"));
  // Labels that are no tags make no words out of a table's texts.
  EXPECT_THAT(RefusalText("sentence_id,words,labels\n1,good food,pos\n2,bad food,neg\n", "t.csv"),
              HasSubstr("--word-column"));
}

}  // namespace
}  // namespace engram::corpus
