// Entities that begin or end inside of a word, against the definitions of spaCy's Doc.char_span in loops; rows that say
// that nothing is known of their other words; documents.

#include <random>
#include <string>
#include <vector>

#include "core/corpus/folds.h"
#include "core/tagging/words.h"
#include "tests/unit/corpus/reading_helpers.h"

namespace engram::corpus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ReadOptions Aligned(SpanAlignment alignment) {
  ReadOptions options;
  options.misaligned = alignment;
  return options;
}

constexpr const char* kBased = R"({"text": "a Paris-based firm", "entities": [[2, 7, "LOC"], [14, 18, "X"]]})";

TEST(EntityAlignment, EachChoiceDoesAnother) {
  const Reading cut = Read(kBased, "t.jsonl");
  EXPECT_THAT(Tagged(cut.dataset), ElementsAre("a/O Paris/B-LOC -based/O firm/B-X"));
  EXPECT_THAT(NoteOf(cut.notes, "MISALIGNED_ENTITIES"), HasSubstr("line 1 \"LOC\" from 2 to 7"));
  EXPECT_THAT(RefusalText(kBased, "t.jsonl", Aligned(SpanAlignment::kStrict)),
              HasSubstr("line 1 has entities that begin or end inside of a word: \"LOC\" from 2 to 7"));
  const Reading contract = Read(kBased, "t.jsonl", Aligned(SpanAlignment::kContract));
  EXPECT_THAT(Tagged(contract.dataset), ElementsAre("a/O Paris-based/- firm/B-X"));
  EXPECT_THAT(NoteOf(contract.notes, "MISALIGNED_ENTITIES"), HasSubstr("\"LOC\" from 2 to 7 (left out)"));
  EXPECT_THAT(NoteOf(contract.notes, "UNKNOWN_WORDS"), HasSubstr("1 of 3 words"));
  const Reading expand = Read(kBased, "t.jsonl", Aligned(SpanAlignment::kExpand));
  EXPECT_THAT(Tagged(expand.dataset), ElementsAre("a/O Paris-based/B-LOC firm/B-X"));
  EXPECT_EQ(CountOf(expand.notes, "MISALIGNED_ENTITIES"), 1);
}

TEST(EntityAlignment, OfTwoThatShareAWordTheFirstStands) {
  const std::string row = R"({"text": "the Paris-Dakar race", "entities": [[4, 9, "A"], [10, 20, "B"]]})";
  const Reading expand = Read(row, "t.jsonl", Aligned(SpanAlignment::kExpand));
  EXPECT_THAT(Tagged(expand.dataset), ElementsAre("the/O Paris-Dakar/B-A race/-"));
  EXPECT_THAT(NoteOf(expand.notes, "MISALIGNED_ENTITIES"),
              HasSubstr("\"A\" from 4 to 9, \"B\" from 10 to 20 (left out)"));
  EXPECT_THAT(Tagged(Parse(row, "t.jsonl", Aligned(SpanAlignment::kContract))),
              ElementsAre("the/O Paris-Dakar/- race/B-B"));
}

TEST(EntityAlignment, WhiteSpaceAtTheEndsIsNoWord) {
  const std::string row = R"({"text": "in  Oslo now", "entities": [[3, 9, "A"]]})";
  for (const SpanAlignment alignment :
       {SpanAlignment::kCut, SpanAlignment::kStrict, SpanAlignment::kContract, SpanAlignment::kExpand}) {
    const Reading reading = Read(row, "t.jsonl", Aligned(alignment));
    EXPECT_THAT(Tagged(reading.dataset), ElementsAre("in/O Oslo/B-A now/O"));
    EXPECT_EQ(CountOf(reading.notes, "MISALIGNED_ENTITIES"), 0);
  }
}

// char_span(alignment_mode): "strict" has no span unless it begins and ends with words; "contract" the words that lie
// inside whole, "expand" those that are touched.
TEST(EntityAlignment, EqualToTheDefinitionsOnRandomSpans) {
  std::mt19937 random(11);
  int misaligned = 0;
  for (int round = 0; round < 400; ++round) {
    std::string text;
    for (int i = 0; i < 12; ++i) text += "ab c d"[random() % 6];
    const std::vector<tagging::Word> words = *tagging::SplitWords(text);
    const int64_t start = static_cast<int64_t>(random() % 11),
                  end = start + 1 + static_cast<int64_t>(random() % (12 - start));
    std::vector<size_t> whole, touched;
    bool begins = false, ends = false;
    for (size_t i = 0; i < words.size(); ++i) {
      if (words[i].start < end && words[i].end > start) touched.push_back(i);
      if (words[i].start >= start && words[i].end <= end) whole.push_back(i);
    }
    if (touched.empty()) continue;
    begins = words[touched.front()].start >= start;
    ends = words[touched.back()].end <= end;
    misaligned += !(begins && ends);
    const std::string row = "{\"text\": \"" + text + "\", \"entities\": [[" + std::to_string(start) + ", " +
                            std::to_string(end) + ", \"x\"]]}";
    EXPECT_EQ(Refusal(row, "t.jsonl", Aligned(SpanAlignment::kStrict)).ok(), begins && ends) << row;
    for (const auto& [alignment, expected] :
         {std::pair{SpanAlignment::kContract, whole}, std::pair{SpanAlignment::kExpand, touched}}) {
      std::vector<size_t> found;
      const std::vector<std::string> tags = Parse(row, "t.jsonl", Aligned(alignment)).sentences[0].tags;
      ASSERT_EQ(tags.size(), words.size());
      for (size_t i = 0; i < tags.size(); ++i) {
        if (tags[i].size() > 1) found.push_back(i);
        if (!found.empty() && found.back() == i) {
          EXPECT_EQ(tags[i], found.size() == 1 ? "B-x" : "I-x");
        }
      }
      EXPECT_EQ(found, expected) << row;
    }
  }
  EXPECT_GT(misaligned, 100);
}

TEST(UnknownWords, ARowSaysWhetherItsOtherWordsAreKnown) {
  const std::string file =
      "{\"text\": \"in Oslo\", \"entities\": [[3, 7, \"LOC\"]], \"other_words\": \"unknown\"}\n"
      "{\"text\": \"in Rome\", \"entities\": [[3, 7, \"LOC\"]], \"other_words\": \"outside\"}\n"
      "{\"text\": \"in Lima\", \"entities\": [[3, 7, \"LOC\"]]}\n";
  const Reading reading = Read(file, "t.jsonl");
  EXPECT_THAT(Tagged(reading.dataset), ElementsAre("in/- Oslo/B-LOC", "in/O Rome/B-LOC", "in/O Lima/B-LOC"));
  EXPECT_EQ(CountOf(reading.notes, "UNKNOWN_WORDS"), 1);
  EXPECT_THAT(DistinctLabels(reading.dataset), ElementsAre("LOC"));
  // As it is stored, and read again.
  const auto stored = ParseCanonical(RenderCanonical(reading.dataset));
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(Tagged(*stored), Tagged(reading.dataset));
  EXPECT_THAT(RefusalText(R"({"text": "a", "entities": [], "other_words": "maybe"})", "t.jsonl"),
              HasSubstr("\"other_words\" that is neither \"unknown\" nor \"outside\""));
  EXPECT_THAT(RefusalText(R"({"text": "a", "label": "x", "other_words": "unknown"})", "t.jsonl"),
              HasSubstr("would not be read: \"other_words\""));
}

TEST(UnknownWords, ColumnsOfTagsMayHaveThem) {
  const Reading reading = Read("Ada\tB-PER\nmet\t-\nBo\tI-PER\n\nit\tO\nran\tO\n", "t.conll");
  EXPECT_THAT(Tagged(reading.dataset), ElementsAre("Ada/B-PER met/- Bo/B-PER", "it/O ran/O"));
  EXPECT_THAT(NoteOf(reading.notes, "UNKNOWN_WORDS"), HasSubstr("1 of 5 words"));
  EXPECT_THAT(Tagged(Parse("Ada\tPER\nmet\t-\nit\tO\n", "t.conll")), ElementsAre("Ada/B-PER met/- it/O"));
}

constexpr const char* kDocuments =
    "-DOCSTART- O\n\na B-x\n\nb O\n\n-DOCSTART- O\n\nc B-x\n\n-DOCSTART- O\n\nd B-x\n\nb O\n\n";

TEST(Documents, SentencesOfOneDocumentAreOneGroup) {
  const Dataset dataset = Parse(kDocuments, "t.conll");
  EXPECT_THAT(dataset.documents, ElementsAre("1", "1", "2", "3", "3"));
  // "b" stands in the first and in the last document: they are one group.
  EXPECT_THAT(GroupsOfRows(dataset), ElementsAre(0, 0, 1, 0, 0));
  const auto stored = ParseCanonical(RenderCanonical(dataset));
  ASSERT_TRUE(stored.ok());
  EXPECT_EQ(GroupsOfRows(*stored), GroupsOfRows(dataset));
  EXPECT_EQ(GroupsOfRows(SelectRows(dataset, std::vector<int64_t>{2, 3, 4})), (std::vector<int64_t>{0, 1, 1}));
  EXPECT_EQ(StatusReason(PlanFolds(dataset, {3, 0, 0, false}).status()), "TOO_FEW_GROUPS");
  EXPECT_TRUE(PlanFolds(dataset, {2, 0, 0, false}).ok());
}

TEST(Documents, AreNamedByKeysOfJson) {
  const std::string file =
      "{\"text\": \"a\", \"label\": \"x\", \"doc_id\": \"u\"}\n{\"text\": \"b\", \"label\": \"y\"}\n"
      "{\"text\": \"c\", \"label\": \"x\", \"doc_id\": \"v\"}\n{\"text\": \"d\", \"label\": \"x\", \"doc_id\": "
      "\"u\"}\n";
  const Dataset dataset = Parse(file, "t.jsonl");
  EXPECT_THAT(dataset.documents, ElementsAre("u", "", "v", "u"));
  EXPECT_THAT(GroupsOfRows(dataset), ElementsAre(0, 1, 2, 0));
  const std::string stored = RenderCanonical(dataset);
  EXPECT_EQ(GroupsOfRows(*ParseCanonical(stored)), GroupsOfRows(dataset));
  EXPECT_EQ(RenderCanonical(*ParseCanonical(stored)), stored);
  // Names of which each row has its own say nothing.
  EXPECT_THAT(
      Parse("{\"text\": \"a\", \"document_id\": 1}\n{\"text\": \"b\", \"document_id\": 2}\n", "t.jsonl").documents,
      IsEmpty());
}

// Random rows, texts and documents: two rows are of one group if there is a way between them, found by squaring the
// relation.
TEST(Documents, GroupsAreConnectedByTextsAndDocuments) {
  std::mt19937 random(2);
  for (int round = 0; round < 50; ++round) {
    Dataset dataset;
    dataset.kind = DatasetKind::kText;
    constexpr size_t kRows = 14;
    std::vector<int> texts, documents;
    for (size_t row = 0; row < kRows; ++row) {
      texts.push_back(static_cast<int>(random() % 12));
      documents.push_back(static_cast<int>(random() % 8));  // 0: none
      dataset.texts.push_back("t" + std::to_string(texts.back()));
      dataset.documents.push_back(documents.back() == 0 ? "" : "d" + std::to_string(documents.back()));
    }
    std::vector<std::vector<bool>> joined(kRows, std::vector<bool>(kRows));
    for (size_t a = 0; a < kRows; ++a) {
      for (size_t b = 0; b < kRows; ++b)
        joined[a][b] = texts[a] == texts[b] || (documents[a] == documents[b] && documents[a] != 0);
    }
    for (size_t via = 0; via < kRows; ++via) {
      for (size_t a = 0; a < kRows; ++a) {
        for (size_t b = 0; b < kRows; ++b) joined[a][b] = joined[a][b] || (joined[a][via] && joined[via][b]);
      }
    }
    const std::vector<int64_t> groups = GroupsOfRows(dataset);
    for (size_t a = 0; a < kRows; ++a) {
      for (size_t b = 0; b < kRows; ++b) EXPECT_EQ(groups[a] == groups[b], joined[a][b]) << round;
    }
  }
}

}  // namespace
}  // namespace engram::corpus
