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

// Two lines in each encoding, written by Python's codecs: str.encode.
TEST(Content, TheLikelyEncodingIsNamed) {
  const std::pair<const char*, std::string> kFiles[] = {
      {"GB18030",
       "\xD5\xE2\xB2\xBF\xB5\xE7\xD3\xB0\xD5\xE6\xB5\xC4\xBA\xDC\xBA\xC3\xBF\xB4\xA3\xAC\xCE\xD2\xB7\xC7\xB3\xA3\xCF"
       "\xB2\xBB\xB6\xCB\xFC\xB5\xC4\xB9\xCA\xCA\xC2\xA1\xA3,"
       "\xBA\xC3\n\xBC\xDB\xB8\xF1\xCC\xAB\xB8\xDF\xA3\xAC\xB7\xFE\xCE\xF1\xCC\xAC\xB6\xC8\xBA\xDC\xB2\xEE\xA1\xA3,"
       "\xB2\xEE\n"},
      {"CP932",
       "\x82\xB1\x82\xCC\x89"
       "f\x89\xE6\x82\xCD\x82\xC6\x82\xC4\x82\xE0\x96\xCA\x94\x92\x82\xA9\x82\xC1\x82\xBD\x82\xC5\x82\xB7\x81"
       "B,a\n\x83T\x81[\x83r\x83X\x82\xAA\x88\xAB\x82\xAD\x82\xC4\x8E"
       "c\x94O\x82\xC5\x82\xB5\x82\xBD\x81"
       "B,b\n"},
      {"EUC-JP",
       "\xA4\xB3\xA4\xCE\xB1\xC7\xB2\xE8\xA4\xCF\xA4\xC8\xA4\xC6\xA4\xE2\xCC\xCC\xC7\xF2\xA4\xAB\xA4\xC3\xA4\xBF\xA4"
       "\xC7\xA4\xB9\xA1\xA3,"
       "a\n\xA5\xB5\xA1\xBC\xA5\xD3\xA5\xB9\xA4\xAC\xB0\xAD\xA4\xAF\xA4\xC6\xBB\xC4\xC7\xB0\xA4\xC7\xA4\xB7\xA4\xBF\xA1"
       "\xA3,b\n"},
      {"CP949",
       "\xC0\xCC \xBF\xB5\xC8\xAD\xB4\xC2 \xC1\xA4\xB8\xBB "
       "\xC0\xE7\xB9\xCC\xC0\xD6\xBE\xFA\xBD\xC0\xB4\xCF\xB4\xD9.,a\n\xBC\xAD\xBA\xF1\xBD\xBA\xB0\xA1 \xB8\xC5\xBF\xEC "
       "\xB3\xAA\xBB\xA6\xBE\xEE\xBF\xE4.,b\n"},
      {"BIG5-HKSCS",
       "\xB3o\xB3\xA1\xB9q\xBCv\xAFu\xAA\xBA\xAB\xDC\xA6n\xAC\xDD\xA1"
       "A\xA7\xDA\xAB"
       "D\xB1`\xB3\xDF\xC5w\xA5\xA6\xAA\xBA\xACG\xA8\xC6\xA1"
       "C,a\n\xBB\xF9\xAE\xE6\xA4\xD3\xB0\xAA\xA1"
       "A\xAA"
       "A\xB0\xC8\xBA"
       "A\xAB\xD7\xAB\xDC\xAEt\xA1"
       "C,b\n"},
      {"KOI8-R",
       "\xFC\xD4\xCF\xD4 \xC6\xC9\xCC\xD8\xCD \xCD\xCE\xC5 \xCF\xDE\xC5\xCE\xD8 "
       "\xD0\xCF\xCE\xD2\xC1\xD7\xC9\xCC\xD3\xD1.,a\n\xEF\xC2\xD3\xCC\xD5\xD6\xC9\xD7\xC1\xCE\xC9\xC5 \xC2\xD9\xCC\xCF "
       "\xD5\xD6\xC1\xD3\xCE\xD9\xCD \xC3\xC5\xCE\xC1 \xD3\xCC\xC9\xDB\xCB\xCF\xCD \xD7\xD9\xD3\xCF\xCB\xC1\xD1.,b\n"},
      {"WINDOWS-1251",
       "\xDD\xF2\xEE\xF2 \xF4\xE8\xEB\xFC\xEC \xEC\xED\xE5 \xEE\xF7\xE5\xED\xFC "
       "\xEF\xEE\xED\xF0\xE0\xE2\xE8\xEB\xF1\xFF.,a\n\xCE\xE1\xF1\xEB\xF3\xE6\xE8\xE2\xE0\xED\xE8\xE5 \xE1\xFB\xEB\xEE "
       "\xF3\xE6\xE0\xF1\xED\xFB\xEC \xE8 \xF6\xE5\xED\xE0 \xF1\xEB\xE8\xF8\xEA\xEE\xEC "
       "\xE2\xFB\xF1\xEE\xEA\xE0\xFF.,b\n"},
      {"WINDOWS-1250",
       "Ten film by\xB3 \x9Cwietny i bardzo mi si\xEA podoba\xB3.,a\nObs\xB3uga by\xB3"
       "a z\xB3"
       "a i za\xBF\xF3\xB3\xE6 g\xEA\x9Cl\xB9 ja\x9F\xF1.,b\n"},
      {"WINDOWS-1252",
       "Der Film war sch\xF6n und zu lang.,a\n\xDC"
       "ber den Preis m\xFCssen wir reden Gr\xFC\xDF"
       "e aus K\xF6ln gr\xF6\xDF"
       "er als sch\xF6n.,b\n"},
  };
  for (const auto& [named, bytes] : kFiles) {
    EXPECT_THAT(RefusalText("text,label\n" + bytes, "t.csv"), HasSubstr(absl::StrCat("iconv -f ", named, " -t UTF-8")));
  }
  // Bytes of no encoding at all, and too few for a guess.
  std::string noise = "text\n";
  for (int i = 0; i < 200; ++i) noise += static_cast<char>(0x80 + (i * 37 + i * i) % 128);
  EXPECT_THAT(RefusalText(noise, "t.csv"), HasSubstr("could not be told"));
  EXPECT_THAT(RefusalText("a\xFF\n", "t.txt"), HasSubstr("too little"));
  // A sequence that is UTF-8 by chance does not make the rest damaged.
  EXPECT_THAT(RefusalText("text,label\n\xC4\xBF" + kFiles[0].second, "t.csv"), HasSubstr("GB18030"));
}

TEST(Content, WhatAFileIsIsSaid) {
  EXPECT_THAT(RefusalText("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 7\n", "t.jsonl"),
              HasSubstr("Git LFS pointer"));
  EXPECT_THAT(RefusalText("\n<!DOCTYPE html>\n<html>", "t.json"), HasSubstr("web page"));
  EXPECT_THAT(RefusalText("<?xml version=\"1.0\"?>\n<rows/>", "t.csv"), HasSubstr("XML"));
  EXPECT_THAT(RefusalText("PAR1\x15\0\x15\x10"s, "t.csv"), HasSubstr("Parquet"));
  EXPECT_THAT(RefusalText("PK\x03\x04\x14\0\x06\0"s, "t.csv"), HasSubstr("ZIP"));
  for (const char* name : {"t.csv", "t.json", "t.bin", "t.pkl"})
    EXPECT_THAT(RefusalText("\x80\x05\x95\x14\0\0\0\0\0\0\0]\x94."s, name), HasSubstr("pickle"));
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
