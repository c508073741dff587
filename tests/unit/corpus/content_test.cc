// Plain text that is none, encodings, and files that are something else than their names say.

#include "tests/unit/corpus/reading_helpers.h"

namespace engram::corpus {
namespace {

using std::string_literals::operator""s;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

ReadOptions As(const char* format) {
  ReadOptions options;
  options.format = format;
  return options;
}

TEST(Content, FastText) {
  const std::string file = "__label__pos good film\n\n__label__neg\tbad film\n";
  for (const char* name : {"t.txt", "t.ft", "t.train"}) {
    const Reading r = Read(file, name);
    EXPECT_THAT(Labelled(r.dataset), ElementsAre("good film -> pos", "bad film -> neg")) << name;
    EXPECT_EQ(r.format, "fasttext");
  }
  EXPECT_THAT(RefusalText("__label__a __label__b x\n", "t.txt"), HasSubstr("line 1 has several labels"));
  EXPECT_THAT(RefusalText("__label__a x __label__b\n", "t.txt"), HasSubstr("line 1 has several labels"));
  EXPECT_THAT(RefusalText("__label__a\n", "t.txt"), HasSubstr("line 1 has no text"));
  EXPECT_THAT(RefusalText("__label__a x\ny\n", "t.txt"), HasSubstr("1 of 2 lines"));
  EXPECT_THAT(RefusalText("__label__a x\ny\n", "t.txt", As("fasttext")), HasSubstr("line 2 does not begin"));
  EXPECT_THAT(Parse("__label__a x\ny\n", "t.txt", As("txt")).texts, ElementsAre("__label__a x", "y"));
}

TEST(Content, TablesUnderTxt) {
  EXPECT_THAT(Labelled(Parse("text\tlabel\na\tx\nb\ty\n", "t.txt")), ElementsAre("a -> x", "b -> y"));
  EXPECT_THAT(Labelled(Parse("text,label\na,x\n\"b, c\",y\n", "t.txt")), ElementsAre("a -> x", "b, c -> y"));
  const std::string bare = "ham\tSee you\nspam\tWin now\n";
  EXPECT_THAT(RefusalText(bare, "t.txt"), HasSubstr("2 columns separated by tabs"));
  EXPECT_THAT(Parse(bare, "t.txt", As("txt")).texts, ElementsAre("ham\tSee you", "spam\tWin now"));
  EXPECT_THAT(RefusalText("# sent_id = 1\n1\tAda\tPROPN\n2\tran\tVERB\n", "t.txt"),
              HasSubstr("3 columns separated by tabs"));
  EXPECT_EQ(StatusField(Refusal("plain lines\n", "t.train")), "training_file");
}

ReadOptions ByNumber(const char* text, const char* label) {
  ReadOptions options;
  options.text_column = text;
  options.label_column = label;
  return options;
}

TEST(Content, LabelsUnderTxtAreRefusedWithAWayOn) {
  const std::string behind = "i feel humiliated;sadness\n\ngrateful, and calm;joy\n";
  EXPECT_THAT(RefusalText(behind, "t.txt"),
              HasSubstr("ends (\";\" beside it) with what reads like a label (\"sadness\""));
  EXPECT_THAT(RefusalText(behind, "t.txt"), HasSubstr("--text-column 1 --label-column 2"));
  EXPECT_THAT(Labelled(Parse(behind, "t.txt", ByNumber("1", "2"))),
              ElementsAre("i feel humiliated -> sadness", "grateful, and calm -> joy"));
  EXPECT_THAT(Parse(behind, "t.txt", As("txt")).texts.size(), 2);
  EXPECT_THAT(RefusalText("Good film,pos\nBad film,neg\n", "t.txt"), HasSubstr("--text-column 1 --label-column 2"));
  EXPECT_THAT(RefusalText("pos,Good film\nneg,Bad, film\n", "t.txt"), HasSubstr("--text-column 2 --label-column 1"));
  EXPECT_THAT(RefusalText("1 good film\n0 bad film\n", "t.train"),
              HasSubstr("begins with what reads like a label (\"1\""));
  EXPECT_THAT(RefusalText("DESC:manner How did it\nENTY:cremat What films\n", "t.txt"), HasSubstr("__label__"));
  // Prose is none of these, and neither are numbers of lines or a line alone.
  for (const char* prose : {"Good, bad\nWell, fine\n", "It ends; so it does\nThen;it goes on\n",
                            "1 Buy milk\n2 Go home\n", "Good film,pos\n", "Ada: hello there\nBob: hi all\n",
                            "at 10:30 we\n11:45 they\n", "http://a.org is one\nhttp://b.org too\n"}) {
    EXPECT_EQ(Parse(prose, "t.txt").kind, DatasetKind::kText) << prose;
  }
}

TEST(Content, PlainTextStaysPlain) {
  EXPECT_THAT(Parse("first\n\nthird, label\nB-x\n", "t.txt").texts, ElementsAre("first", "third, label", "B-x"));
  EXPECT_THAT(Parse("Vitamin A and O\nGroup B-12 or O\n", "t.txt").texts.size(), 2);
  EXPECT_THAT(Parse("BZh is a name\n", "t.txt").texts, ElementsAre("BZh is a name"));
}

TEST(Content, Utf16AndUtf32AreRead) {
  const std::u16string text = u"text,label\nZo\u00eb \U0001F600,x\nb,y\n";
  std::string little, big;
  for (const char16_t c : text) {
    little += static_cast<char>(c & 0xFF);
    little += static_cast<char>(c >> 8);
    big += static_cast<char>(c >> 8);
    big += static_cast<char>(c & 0xFF);
  }
  std::string wide = "\xFF\xFE\0\0"s;
  for (const char32_t c : std::u32string(U"text,label\nZo\u00eb \U0001F600,x\nb,y\n")) {
    for (int i = 0; i < 4; ++i) wide += static_cast<char>(c >> (8 * i) & 0xFF);
  }
  for (const std::string& bytes : {"\xFF\xFE" + little, "\xFE\xFF" + big, little, big, wide}) {
    const Reading r = Read(bytes, "t.csv");
    EXPECT_THAT(Labelled(r.dataset), ElementsAre("Zo\u00eb \U0001F600 -> x", "b -> y"));
    EXPECT_NE(NoteOf(r.notes, "ENCODING"), "");
  }
  EXPECT_THAT(RefusalText("\xFF\xFE\n\0\0\xD8"s, "t.txt"), HasSubstr("UTF-16"));
  EXPECT_EQ(StatusField(Refusal("\xFF\xFE\n\0\0\xD8"s, "t.txt")), "training line 2");
  EXPECT_THAT(RefusalText("\xFF\xFE\n"s, "t.txt"), HasSubstr("ends inside of a character"));
}

TEST(Content, Latin1IsNamed) {
  const std::string message = RefusalText("text,label\nfine,x\nna\xEFve,y\n", "t.csv");
  EXPECT_THAT(message, HasSubstr("0xEF"));
  EXPECT_THAT(message, HasSubstr("iconv -f WINDOWS-1252"));
  EXPECT_EQ(StatusField(Refusal("text,label\nfine,x\nna\xEFve,y\n", "t.csv")), "training line 3");
  EXPECT_THAT(RefusalText("na\u00efve\nna\xEFve\n", "t.txt"), HasSubstr("damaged"));
}

TEST(Content, WhatAFileIsIsSaid) {
  EXPECT_THAT(RefusalText("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 7\n", "t.jsonl"),
              HasSubstr("Git LFS pointer"));
  EXPECT_THAT(RefusalText("\n<!DOCTYPE html>\n<html>", "t.json"), HasSubstr("web page"));
  EXPECT_THAT(RefusalText("<?xml version=\"1.0\"?>\n<rows/>", "t.csv"), HasSubstr("XML"));
  EXPECT_THAT(RefusalText("PAR1\x15\0\x15\x10"s, "t.csv"), HasSubstr("Parquet"));
  EXPECT_THAT(RefusalText("PK\x03\x04\x14\0\x06\0"s, "t.csv"), HasSubstr("ZIP"));
  EXPECT_EQ(StatusField(Refusal("{}", "t.xlsx")), "training_file");
  EXPECT_THAT(RefusalText("{}", "t.parquet"), HasSubstr("--format"));
  EXPECT_THAT(RefusalText("PAR1\x15\0\x15\x10"s, "t.parquet"), HasSubstr("Parquet"));
  EXPECT_EQ(StatusField(Refusal("a\n", "t.txt", As("yaml"))), "format");
}

TEST(Content, ABomInsideIsATokenOnlyBeforeWhiteSpace) {
  EXPECT_THAT(Tagged(Parse("a B-x\n\uFEFF O\n\uFEFFb O\n", "t.conll")), ElementsAre("a/B-x \uFEFF/O b/O"));
}

}  // namespace
}  // namespace engram::corpus
