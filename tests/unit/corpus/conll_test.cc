// CoNLL as the field has it.

#include "tests/unit/corpus/reading_helpers.h"

namespace engram::corpus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

ReadOptions Strict() {
  ReadOptions options;
  options.strict = true;
  return options;
}

TEST(Conll, SchemesAndColumns) {
  const Reading r = Read(
      "-DOCSTART- -X- O\n\nJohn NNP I-per\nSmith NNP I-per\nAda NNP B-per\n\nin IN O\nRome NNP I-loc\n", "t.conll");
  EXPECT_THAT(Tagged(r.dataset), ElementsAre("John/B-per Smith/I-per Ada/B-per", "in/O Rome/B-loc"));
  EXPECT_EQ(r.dataset.sentences[1].text, "in Rome");
  EXPECT_THAT(r.notes, IsEmpty());
  EXPECT_THAT(Tagged(Parse("a S-x\nb B-x\nc I-x\nd E-x\ne O\n", "t.bio")), ElementsAre("a/B-x b/B-x c/I-x d/I-x e/O"));
}

TEST(Conll, ABInAnIob1FileIsOneRepair) {
  const std::string file = "Acme I-ORG\ndeclines O\nHarbour B-MISC\n\nBig I-ORG\nBank I-ORG\n";
  const Reading r = Read(file, "t.conll");
  EXPECT_THAT(Tagged(r.dataset), ElementsAre("Acme/B-ORG declines/O Harbour/B-MISC", "Big/B-ORG Bank/I-ORG"));
  EXPECT_EQ(CountOf(r.notes, "TAGS_REPAIRED"), 1);
  EXPECT_THAT(NoteOf(r.notes, "TAGS_REPAIRED"), HasSubstr("line 3 tag \"B-MISC\""));
  EXPECT_EQ(StatusField(Refusal(file, "t.conll", Strict())), "training line 3");
}

TEST(Conll, AnIThatBeginsInABio2FileIsOneRepair) {
  const std::string file = "San O\nfila B-ORG\nO O\n\nEast I-ORG\nRand O\n";
  const Reading r = Read(file, "t.conll");
  EXPECT_THAT(Tagged(r.dataset), ElementsAre("San/O fila/B-ORG O/O", "East/B-ORG Rand/O"));
  EXPECT_EQ(CountOf(r.notes, "TAGS_REPAIRED"), 1);
  EXPECT_THAT(NoteOf(r.notes, "TAGS_REPAIRED"), HasSubstr("line 5 tag \"I-ORG\""));
  EXPECT_THAT(RefusalText(file, "t.conll", Strict()), HasSubstr("one row does not parse: line 5 tag \"I-ORG\""));
}

TEST(Conll, AStraySNamesItself) {
  const Reading r = Read("From O\nParis B-LOC\nto O\nEaster S-Occasion\n", "t.conll");
  EXPECT_THAT(Tagged(r.dataset), ElementsAre("From/O Paris/B-LOC to/O Easter/B-Occasion"));
  EXPECT_EQ(CountOf(r.notes, "TAGS_REPAIRED"), 1);
  EXPECT_THAT(NoteOf(r.notes, "TAGS_REPAIRED"), HasSubstr("line 4 tag \"S-Occasion\""));
  EXPECT_THAT(NoteOf(r.notes, "TAGS_REPAIRED"), Not(HasSubstr("line 2")));
}

TEST(Conll, ATypeCalledOIsNamedAndNoType) {
  const Reading r = Read("North NNP I-NP I-O\nIron NNP I-NP I-O\nMining NNP I-NP I-ORG\n", "t.conll");
  EXPECT_THAT(DistinctLabels(r.dataset), ElementsAre("ORG"));
  EXPECT_THAT(NoteOf(r.notes, "TAGS_REPAIRED"), HasSubstr("line 1 tag \"I-O\""));
  EXPECT_EQ(CountOf(r.notes, "TAGS_REPAIRED"), 2);
}

TEST(Conll, TokensOfWhiteSpaceAreTokens) {
  EXPECT_THAT(Tagged(Parse("Acme\tB-ORG\ndeclines\tO\n\u00a0\tO\nDanish\tB-MISC\n", "t.conll")),
              ElementsAre("Acme/B-ORG declines/O \u00a0/O Danish/B-MISC"));
  EXPECT_THAT(Tagged(Parse("a B-x\n\u00a0 I-x\n\u3000 O\n\u200b O\n", "t.conll")),
              ElementsAre("a/B-x \u00a0/I-x \u3000/O \u200b/O"));
  EXPECT_THAT(Tagged(Parse("a B-x\n O\nb O\n", "t.conll")), ElementsAre("a/B-x  /O b/O"));
  EXPECT_THAT(Tagged(Parse("a\tB-x\n \tO\n\tO\nb\tO\n", "t.conll")), ElementsAre("a/B-x  /O  /O b/O"));
}

TEST(Conll, AnEntityOfWhiteSpaceAloneIsListed) {
  const Reading r = Read("a O\n\u00a0 B-x\nb B-y\n\u00a0 I-y\n", "t.conll");
  EXPECT_EQ(CountOf(r.notes, "ENTITY_WITHOUT_WORD"), 1);
  EXPECT_THAT(NoteOf(r.notes, "ENTITY_WITHOUT_WORD"), HasSubstr("line 2 \"x\""));
}

TEST(Conll, CommentsAreLeftOutAndHashesAreWords) {
  const Reading r = Read("# sent_id = 1\n# text = # tags O\n#\tO\n#topic\tB-x\n# newdoc\n\nb\tO\n", "t.conll");
  EXPECT_THAT(Tagged(r.dataset), ElementsAre("#/O #topic/B-x", "b/O"));
  EXPECT_EQ(CountOf(r.notes, "COMMENTS"), 3);
  EXPECT_THAT(NoteOf(r.notes, "COMMENTS"), HasSubstr("lines 1, 2, 5"));
}

TEST(Conll, NumbersOfWordsAndNestedTags) {
  const std::string file =
      "#\thttp://example.org [2009-10-17]\n1\tOslo\tB-LOC\tO\n2\tUniversity\tO\tB-ORG\n3\topened\tO\tO\n\n"
      "1\tAda\tB-PER\tO\n2\tBerg\tI-PER\tO\n";
  const Reading inner = Read(file, "t.conll");
  EXPECT_THAT(Tagged(inner.dataset), ElementsAre("Oslo/O University/B-ORG opened/O", "Ada/O Berg/O"));
  EXPECT_THAT(NoteOf(inner.notes, "INDEX_COLUMN"), HasSubstr("--word-column"));
  EXPECT_THAT(NoteOf(inner.notes, "SEVERAL_TAG_COLUMNS"), HasSubstr("\"column 3\", \"column 4\""));
  ReadOptions options;
  options.tag_column = "3";
  const Reading outer = Read(file, "t.conll", options);
  EXPECT_THAT(Tagged(outer.dataset), ElementsAre("Oslo/B-LOC University/O opened/O", "Ada/B-PER Berg/I-PER"));
  EXPECT_EQ(NoteOf(outer.notes, "SEVERAL_TAG_COLUMNS"), "");
  options.word_column = "1";
  EXPECT_THAT(Tagged(Parse(file, "t.conll", options))[1], "1/B-PER 2/I-PER");
  options.word_column = "9";
  EXPECT_EQ(StatusField(Refusal(file, "t.conll", options)), "word_column");
  // Words that happen to be numbers are words.
  EXPECT_THAT(Tagged(Parse("1 CD O\n2 CD O\n\nAda NNP B-x\n", "t.conll"))[0], "1/O 2/O");
}

TEST(Conll, WhatRepeatsThroughoutASentenceIsNoWord) {
  const Reading r = Read("bc/x 0 0 Ada NNP B-PER\nbc/x 0 1 ran VB O\n\nbc/y 0 0 Oslo NNP B-LOC\n", "t.conll");
  EXPECT_THAT(Tagged(r.dataset), ElementsAre("Ada/B-PER ran/O", "Oslo/B-LOC"));
  EXPECT_THAT(NoteOf(r.notes, "INDEX_COLUMN"), HasSubstr("column 4 was read as the words"));
  EXPECT_THAT(Tagged(Parse("ha X B-a\nha Y O\n\nho X O\nhe Y O\n", "t.conll"))[0], "ha/B-a ha/O");
  EXPECT_THAT(Tagged(Parse("ha B-a\nha O\n", "t.conll")), ElementsAre("ha/B-a ha/O"));
}

TEST(Conll, TagsMayStandFirst) {
  const Reading r = Read("B-ACTOR\tSteve\nI-ACTOR\tHart\nO\tfilms\n", "t.bio");
  EXPECT_THAT(Tagged(r.dataset), ElementsAre("Steve/B-ACTOR Hart/I-ACTOR films/O"));
  EXPECT_THAT(NoteOf(r.notes, "TAGS_FIRST"), HasSubstr("column 2 was read as the words"));
  EXPECT_EQ(r.columns[0].second, "tags");
}

TEST(Conll, ChunksBesideEntitiesAreAWarning) {
  const Reading r = Read("Acme NNP B-NP B-ORG\ngrows VBZ B-VP O\n", "t.conll");
  EXPECT_THAT(Tagged(r.dataset), ElementsAre("Acme/B-ORG grows/O"));
  EXPECT_THAT(NoteOf(r.notes, "SEVERAL_TAG_COLUMNS"), HasSubstr("--tag-column"));
  // A last column that holds no tags is not the tags.
  EXPECT_THAT(Tagged(Parse("Acme B-ORG doc1\ngrows O doc1\n", "t.conll")), ElementsAre("Acme/B-ORG grows/O"));
}

TEST(Conll, AHeaderIsNoWord) {
  EXPECT_THAT(Tagged(Parse("word\ttag\nAda\tB-x\nran\tO\n", "t.conll")), ElementsAre("Ada/B-x ran/O"));
  const Reading joined = Read("word\ttag\nAda\tB-x\n\nword\ttag\nran\tO\n", "t.conll");
  EXPECT_THAT(Tagged(joined.dataset), ElementsAre("Ada/B-x", "ran/O"));
  EXPECT_THAT(NoteOf(joined.notes, "HEADER_REPEATED"), HasSubstr("line 4"));
  EXPECT_EQ(StatusField(Refusal("word\ttag\nAda\tB-x\nword\ttag\n", "t.conll", Strict())), "training line 3");
  ReadOptions options;
  options.word_column = "form";
  options.tag_column = "entity";
  const std::string file = "id form entity\na Ada B-x\nb ran O\n";
  EXPECT_THAT(Tagged(Parse(file, "t.conll", options)), ElementsAre("Ada/B-x ran/O"));
  options.tag_column = "ner";
  EXPECT_THAT(RefusalText(file, "t.conll", options), HasSubstr("\"id\", \"form\", \"entity\""));
}

TEST(Conll, LinesThatLackOrAddAColumnAreNamed) {
  const std::string message = RefusalText("New York B-LOC\na O\nb O\nc\n", "t.conll");
  EXPECT_THAT(message, HasSubstr("line 1 has 3 columns where most lines have 2"));
  EXPECT_THAT(message, HasSubstr("line 4 has one column only"));
  EXPECT_THAT(Tagged(Parse("a O \nb\tB-x\t\nc  O\n", "t.conll")), ElementsAre("a/O b/B-x c/O"));
}

TEST(Conll, UnderOtherNames) {
  const std::string file = "Acme\tB-ORG\ndeclines\tO\n\nAda\tB-PER\n";
  for (const char* name : {"t.txt", "t.tsv", "t.csv", "eng.train"}) {
    const Reading r = Read(file, name);
    EXPECT_THAT(Tagged(r.dataset), ElementsAre("Acme/B-ORG declines/O", "Ada/B-PER")) << name;
    EXPECT_EQ(r.format, "conll");
    EXPECT_THAT(NoteOf(r.notes, "FORMAT"), HasSubstr("CoNLL"));
  }
  EXPECT_THAT(Tagged(Parse("word\tlabel\nAcme\tB-ORG\ngrows\tO\n", "t.tsv")), ElementsAre("Acme/B-ORG grows/O"));
  EXPECT_THAT(Tagged(Parse("Acme B-ORG\ndeclines O\n\nAda B-PER\n", "t.txt")),
              ElementsAre("Acme/B-ORG declines/O", "Ada/B-PER"));
  ReadOptions plain;
  plain.format = "txt";
  EXPECT_THAT(Parse(file, "t.txt", plain).texts, ElementsAre("Acme\tB-ORG", "declines\tO", "Ada\tB-PER"));
  ReadOptions texts;
  texts.kind = DatasetKind::kText;
  EXPECT_THAT(Parse(file, "t.conll", texts).texts, ElementsAre("Acme declines", "Ada"));
}

}  // namespace
}  // namespace engram::corpus
