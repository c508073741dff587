// CSV and TSV as the field has them.

#include "tests/unit/corpus/reading_helpers.h"

namespace engram::corpus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Table, ColumnsByTheNamesThatAreKnown) {
  for (const char* header : {"text,label", "text,category", "Text , Labels", "sentence,intent", "utterance,class"}) {
    const Reading r = Read(std::string(header) + "\nGood,pos\nBad,neg\n", "t.csv");
    EXPECT_THAT(Labelled(r.dataset), ElementsAre("Good -> pos", "Bad -> neg")) << header;
    EXPECT_EQ(r.columns[1].second, "label");
  }
  EXPECT_THAT(Labelled(Parse(",text,label,id\n0,Good,pos,a\n1,Bad,neg,b\n", "t.csv")),
              ElementsAre("Good -> pos", "Bad -> neg"));
  EXPECT_EQ(Parse("text\nGood\nBad\n", "t.csv").kind, DatasetKind::kText);
}

TEST(Table, AColumnThatIsNotReadIsRefusedOrNamed) {
  const std::string file = "text,label,source\nGood,pos,web\nBad,neg,web\n";
  EXPECT_EQ(StatusField(Refusal(file, "t.csv")), "training line 1");
  EXPECT_THAT(RefusalText(file, "t.csv"), HasSubstr("not be read: \"source\""));
  EXPECT_THAT(RefusalText(file, "t.csv"), HasSubstr("--label-column"));
  ReadOptions options;
  options.label_column = "LABEL";
  const Reading r = Read(file, "t.csv", options);
  EXPECT_THAT(Labelled(r.dataset), ElementsAre("Good -> pos", "Bad -> neg"));
  EXPECT_THAT(NoteOf(r.notes, "COLUMNS_NOT_READ"), HasSubstr("\"source\""));
  options.label_column = "source";
  EXPECT_THAT(Labelled(Parse(file, "t.csv", options)), ElementsAre("Good -> web", "Bad -> web"));
  options.label_column = "mood";
  EXPECT_EQ(StatusField(Refusal(file, "t.csv", options)), "label_column");
  EXPECT_THAT(RefusalText(file, "t.csv", options), HasSubstr("\"text\", \"label\", \"source\""));
  ReadOptions texts;
  texts.kind = DatasetKind::kText;
  const Reading plain = Read(file, "t.csv", texts);
  EXPECT_EQ(plain.dataset.kind, DatasetKind::kText);
  EXPECT_THAT(NoteOf(plain.notes, "COLUMNS_NOT_READ"), HasSubstr("\"label\", \"source\""));
  ReadOptions tags;
  tags.kind = DatasetKind::kTagging;
  EXPECT_THAT(RefusalText("text,label\nGood,pos\n", "t.csv", tags), HasSubstr("texts with labels"));
}

TEST(Table, SeveralCandidatesAreRefused) {
  EXPECT_THAT(RefusalText("title,body,label\na,b,x\n", "t.csv"),
              HasSubstr("several texts: \"title\", \"body\"; name one with --text-column"));
  EXPECT_THAT(RefusalText("text,label,label_text\na,0,neg\n", "t.csv"), HasSubstr("\"label\", \"label_text\""));
  EXPECT_THAT(RefusalText("a,b\n1,2\n", "t.csv"), HasSubstr("its columns are \"a\", \"b\""));
  ReadOptions options;
  options.text_column = "hypothesis";
  options.label_column = "label";
  EXPECT_THAT(Labelled(Parse("premise,hypothesis,label\na,b,x\n", "t.csv", options)), ElementsAre("b -> x"));
}

TEST(Table, ColumnsByNumberAreOfAFileWithoutAHeader) {
  ReadOptions options;
  options.text_column = "2";
  options.label_column = "1";
  EXPECT_THAT(Labelled(Parse("ham\tSee you\nspam\tWin now\n", "t.tsv", options)),
              ElementsAre("See you -> ham", "Win now -> spam"));
  EXPECT_THAT(Labelled(Parse("label\ttext\nspam\tWin now\n", "t.tsv", options)), ElementsAre("Win now -> spam"));
  EXPECT_THAT(Labelled(Parse("ham\tSee you\nspam\tWin now\n", "t.txt", options)),
              ElementsAre("See you -> ham", "Win now -> spam"));
  // The separator is the one that all rows have as often.
  EXPECT_THAT(Labelled(Parse("ham;See, you\nspam;Win now\n", "t.csv", options)),
              ElementsAre("See, you -> ham", "Win now -> spam"));
  options.text_column = "3";
  EXPECT_EQ(StatusField(Refusal("ham\tSee you\n", "t.tsv", options)), "text_column");
  EXPECT_EQ(StatusField(Refusal("ham,See you\nspam,Win now\n", "t.csv")), "training line 1");
}

// The first row may hold the number that names its column.
TEST(Table, ANumberIsAPlaceAndNoName) {
  ReadOptions options;
  options.text_column = "2";
  options.label_column = "1";
  EXPECT_THAT(Labelled(Parse("\"1\",\"good food\"\n\"2\",\"bad food\"\n", "t.csv", options)),
              ElementsAre("good food -> 1", "bad food -> 2"));
  // pandas' own names count from 0.
  options.text_column = "1";
  options.label_column = "0";
  EXPECT_THAT(Labelled(Parse("0,1\nx,good\ny,bad\n", "t.csv", options)), ElementsAre("good -> x", "bad -> y"));
}

TEST(Table, ListsOfWordsInATableAreNoTexts) {
  const std::string refusal = RefusalText("id,tokens,ner_tags\n1,\"['Oslo', 'is']\",\"['B-geo', 'O']\"\n", "t.csv");
  EXPECT_THAT(refusal, HasSubstr("--word-column"));
  EXPECT_THAT(refusal, HasSubstr("\"tokens\""));
  EXPECT_THAT(refusal, HasSubstr("to_json"));
}

TEST(Table, AColumnWithoutANameIsNoHidingPlace) {
  const std::string file = "text,label,\nGood,pos,\nBad,neg,and more\n";
  EXPECT_THAT(RefusalText(file, "t.csv"), HasSubstr("line 3 has text in a column that the header does not name"));
  ReadOptions options;
  options.label_column = "label";
  const Reading r = Read(file, "t.csv", options);
  EXPECT_THAT(Labelled(r.dataset), ElementsAre("Good -> pos", "Bad -> neg"));
  EXPECT_THAT(NoteOf(r.notes, "COLUMNS_NOT_READ"), HasSubstr("1 row(s) have text in a column without a name (line 3)"));
  EXPECT_THAT(Labelled(Parse("text,label,\nGood,pos,\nBad,neg, 7\n", "t.csv")),
              ElementsAre("Good -> pos", "Bad -> neg"));
}

TEST(Table, LabelsThatAreTagsOfWordsAreRefused) {
  const std::string lists = "text,labels\nAda ran,\"['B-PER', 'O']\"\nSo it is,O O O\n";
  EXPECT_THAT(RefusalText(lists, "t.csv"), HasSubstr("tags of words (\"['B-PER', 'O']\" in the first row)"));
  const std::string words = "text,label\nAda,B-PER\nran,O\n";
  EXPECT_THAT(RefusalText(words, "t.csv"), HasSubstr("--kind classification"));
  ReadOptions options;
  options.kind = DatasetKind::kClassification;
  EXPECT_THAT(Labelled(Parse(words, "t.csv", options)), ElementsAre("Ada -> B-PER", "ran -> O"));
  EXPECT_THAT(Labelled(Parse("text,label\na,O\nb,A\nc,B-12\n", "t.csv")), ElementsAre("a -> O", "b -> A", "c -> B-12"));
  EXPECT_THAT(Labelled(Parse("text,label\na,O\nb,O\n", "t.csv")), ElementsAre("a -> O", "b -> O"));
}

TEST(Table, RowsOfMoreCellsThanAnyTableHas) {
  const std::string commas(20'000, ','), tabs(20'000, '\t');
  EXPECT_THAT(RefusalText("text,label\na,b\n" + commas, "t.csv"), HasSubstr("more than 10000 cells"));
  EXPECT_EQ(StatusField(Refusal("text\tlabel\na\tb\n" + tabs, "t.tsv")), "training line 3");
  EXPECT_FALSE(Refusal(std::string(3'000'000, ','), "t.csv").ok());
  std::string spaces;
  for (int i = 0; i < 100'000; ++i) spaces += "a ";
  EXPECT_FALSE(Refusal("a B-x\nb O\n" + spaces, "t.conll").ok());
}

TEST(Table, SeparatorsAreSeen) {
  const Reading r = Read("text;label\nGood film;pos\nBad, film;neg\n", "t.csv");
  EXPECT_THAT(Labelled(r.dataset), ElementsAre("Good film -> pos", "Bad, film -> neg"));
  EXPECT_THAT(NoteOf(r.notes, "SEPARATOR"), HasSubstr("\";\""));
  EXPECT_THAT(Labelled(Parse("\"text\";\"label\"\n\"a;b\";\"x\"\n", "t.csv")), ElementsAre("a;b -> x"));
  EXPECT_THAT(Labelled(Parse("text\tlabel\na,b\tx\n", "t.csv")), ElementsAre("a,b -> x"));
  EXPECT_THAT(Labelled(Parse("text,label\n\"a\tb\",x\n", "t.tsv")), ElementsAre("a\tb -> x"));
  const std::string excel = "sep=;\ntext;label\na;x\nb\n";
  EXPECT_EQ(StatusField(Refusal(excel, "t.csv")), "training line 4");
}

TEST(Table, LabelsThatAreNotMeantAreWarnings) {
  const Dataset variants = Parse("text,label\nGood,pos\nBad,neg\nGreat,Pos\nPoor,neg \n", "t.csv");
  EXPECT_THAT(DistinctLabels(variants), ElementsAre("Pos", "neg", "neg ", "pos"));
  const auto odd = OddRows(variants);
  EXPECT_EQ(CountOf(odd, "LABEL_SPELLINGS"), 2);
  EXPECT_THAT(NoteOf(odd, "LABEL_SPELLINGS"), HasSubstr("\"neg\", \"neg \"; \"Pos\", \"pos\""));
  EXPECT_EQ(CountOf(odd, "MANY_LABELS"), 4);
  const auto spaced = OddRows(Parse("text, label\nGood film, pos\nBad film, neg\nFine film,pos\n", "t.csv"));
  EXPECT_THAT(NoteOf(spaced, "LABEL_SPELLINGS"), HasSubstr("\" pos\", \"pos\""));
  EXPECT_THAT(NoteOf(spaced, "LABEL_SPACES"), HasSubstr("\" neg\""));
  const auto nan = OddRows(Parse("id,text,label\n1,Good,1.0\n2,Bad,0.0\n3,Meh,nan\n", "t.csv"));
  EXPECT_THAT(NoteOf(nan, "LABEL_NAN"), HasSubstr("\"nan\" (1 rows)"));
  const auto conflict = OddRows(Parse("text,label\na,x\na,y\na,y\nb,x\nb,x\n", "t.csv"));
  EXPECT_EQ(CountOf(conflict, "LABELS_CONFLICT"), 1);
  EXPECT_THAT(NoteOf(conflict, "LABELS_CONFLICT"), HasSubstr("\"a\" as \"x\", \"y\""));
}

TEST(Table, ManyLabelsIsMoreThanATenthOfTheRows) {
  std::string file = "text,label\n";
  for (int i = 0; i < 20; ++i) file += "row " + std::to_string(i) + (i % 2 == 0 ? ",a\n" : ",b\n");
  EXPECT_THAT(OddRows(Parse(file, "t.csv")), IsEmpty());
  EXPECT_EQ(CountOf(OddRows(Parse(file + "last,c\n", "t.csv")), "MANY_LABELS"), 3);
}

TEST(Table, RowsOfTheTestPartInTheTrainingPart) {
  const Dataset training = Parse("text,label\na,x\nb,y\nc,x\n", "t.csv");
  const auto shared = SharedRows(training, Parse("text,label\nb,y\nd,x\nc,y\n", "t.csv"), "test");
  EXPECT_EQ(CountOf(shared, "TEST_IN_TRAINING"), 2);
  EXPECT_THAT(NoteOf(shared, "TEST_IN_TRAINING"), HasSubstr("\"b\", \"c\""));
  EXPECT_THAT(SharedRows(training, Parse("text,label\nB,y\n", "t.csv"), "test"), IsEmpty());
}

TEST(Table, AHeaderInMidFileIsNoRow) {
  const std::string file = "text,label\nGood,pos\ntext,label\nBad,neg\n";
  const Reading r = Read(file, "t.csv");
  EXPECT_THAT(Labelled(r.dataset), ElementsAre("Good -> pos", "Bad -> neg"));
  EXPECT_THAT(NoteOf(r.notes, "HEADER_REPEATED"), HasSubstr("line 3"));
  ReadOptions strict;
  strict.strict = true;
  EXPECT_EQ(StatusField(Refusal(file, "t.csv", strict)), "training line 3");
  // Joined with its byte-order mark.
  const Reading joined =
      Read("\xEF\xBB\xBFtext,label\nGood,pos\n\xEF\xBB\xBFtext,label\nBad,neg\n\xEF\xBB\xBF\n", "t.csv");
  EXPECT_THAT(Labelled(joined.dataset), ElementsAre("Good -> pos", "Bad -> neg"));
  EXPECT_EQ(CountOf(joined.notes, "BYTE_ORDER_MARKS"), 2);
}

TEST(Table, AQuoteInATsvIsACharacter) {
  const Reading r =
      Read("text\tlabel\n\"Wow, what a film\tpos\nA dull film, said the critic\"\tneg\nFine\tpos\nBad\tneg\n", "t.tsv");
  EXPECT_THAT(Labelled(r.dataset), ElementsAre("\"Wow, what a film -> pos", "A dull film, said the critic\" -> neg",
                                               "Fine -> pos", "Bad -> neg"));
  EXPECT_THAT(NoteOf(r.notes, "QUOTES_AS_TEXT"), HasSubstr("line 2"));
  EXPECT_THAT(Labelled(Parse("label\ttext\nx\t\"Wow\n\ny\tA dull film\"\nx\tFine\n", "t.tsv")),
              ElementsAre("\"Wow -> x", "A dull film\" -> y", "Fine -> x"));
  EXPECT_THAT(Parse("text\n\"Wow\nDull\"\n", "t.tsv").texts, ElementsAre("\"Wow", "Dull\""));
}

TEST(Table, ACellOfATsvThatIsQuotedWholeIsUnquoted) {
  const Reading r =
      Read("text\tlabel\n\"say \"\"a\"\"\"\tx\n\"a\" and \"b\"\ty\n5\" disk\tx\n\"a\tb\"\ty\n\"c\nd\"\tx\ne\t\"y\"\n",
           "t.tsv");
  EXPECT_THAT(Labelled(r.dataset), ElementsAre("say \"a\" -> x", "\"a\" and \"b\" -> y", "5\" disk -> x", "a\tb -> y",
                                               "c\nd -> x", "e -> y"));
  EXPECT_EQ(CountOf(r.notes, "CELLS_SPAN_LINES"), 1);
  EXPECT_THAT(NoteOf(r.notes, "CELLS_SPAN_LINES"), HasSubstr("line 6"));
}

TEST(Table, CellsThatSpanLinesAreAWarning) {
  const Reading r = Read("text,label\n\"a\nb\",x\nc,y\n\"d\n\ne\",x\n", "t.csv");
  EXPECT_THAT(Labelled(r.dataset), ElementsAre("a\nb -> x", "c -> y", "d\n\ne -> x"));
  EXPECT_THAT(NoteOf(r.notes, "CELLS_SPAN_LINES"), HasSubstr("lines 2, 5"));
}

TEST(Table, SpacesBeforeQuotes) {
  const Reading r = Read("text, label\n\"a, b\", \"x\"\nc, \"y, z\" \n d \"e\", f\n", "t.csv");
  EXPECT_THAT(Labelled(r.dataset), ElementsAre("a, b -> x", "c -> y, z", " d \"e\" ->  f"));
  EXPECT_EQ(CountOf(r.notes, "SPACES_BEFORE_QUOTES"), 2);
}

TEST(Table, LineEnds) {
  for (const char* end : {"\n", "\r\n", "\r", "\r\r\n"}) {
    const std::string e = end;
    EXPECT_THAT(Labelled(Parse("text,label" + e + "a,x" + e + "b,y" + e, "t.csv")), ElementsAre("a -> x", "b -> y"));
    EXPECT_THAT(Labelled(Parse("text\tlabel" + e + "a\tx" + e + "b\ty", "t.tsv")), ElementsAre("a -> x", "b -> y"));
    EXPECT_THAT(Parse("a" + e + "b" + e, "t.txt").texts, ElementsAre("a", "b"));
    EXPECT_THAT(Tagged(Parse("a O" + e + "b B-x" + e + e + "c O" + e, "t.conll")), ElementsAre("a/O b/B-x", "c/O"));
    EXPECT_THAT(Parse("{\"text\": \"a\"}" + e + "{\"text\": \"b\"}" + e, "t.jsonl").texts, ElementsAre("a", "b"));
  }
  const Reading r = Read("text,label\ra,x\rb,y\n", "t.csv");
  EXPECT_EQ(CountOf(r.notes, "CARRIAGE_RETURNS"), 2);
}

}  // namespace
}  // namespace engram::corpus
