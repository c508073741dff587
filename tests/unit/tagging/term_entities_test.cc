#include "core/tagging/term_entities.h"

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <tuple>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::tagging {
namespace {

using ::testing::ElementsAre;

Entity At(int64_t start, int64_t end, const std::string& type, double score) {
  Entity entity;
  entity.start = start;
  entity.end = end;
  entity.type = type;
  entity.score = score;
  return entity;
}

using Row = std::tuple<int64_t, int64_t, std::string, bool, int32_t>;  // start, end, type, tagged, term

std::vector<Row> RowsOf(const std::vector<MergedEntity>& merged) {
  std::vector<Row> rows;
  for (const MergedEntity& one : merged)
    rows.emplace_back(one.entity.start, one.entity.end, one.entity.type, one.tagged, one.term);
  return rows;
}

TEST(TermEntities, EachPrecedenceChoosesAnother) {
  const std::vector<Entity> tagged = {At(0, 4, "PER", 0.5), At(10, 20, "ORG", 0.6), At(30, 33, "LOC", 0.7)};
  const std::vector<Entity> listed = {At(0, 4, "PER", 1), At(12, 15, "LOC", 1), At(28, 40, "LOC", 1)};
  const std::vector<int32_t> terms = {7, 8, 9};
  EXPECT_THAT(RowsOf(MergeEntities(tagged, listed, terms, Precedence::kLongest)),
              ElementsAre(Row{0, 4, "PER", true, 7}, Row{10, 20, "ORG", true, -1}, Row{28, 40, "LOC", false, 9}));
  EXPECT_THAT(RowsOf(MergeEntities(tagged, listed, terms, Precedence::kTagger)),
              ElementsAre(Row{0, 4, "PER", true, 7}, Row{10, 20, "ORG", true, -1}, Row{30, 33, "LOC", true, -1}));
  EXPECT_THAT(RowsOf(MergeEntities(tagged, listed, terms, Precedence::kTerms)),
              ElementsAre(Row{0, 4, "PER", true, 7}, Row{12, 15, "LOC", false, 8}, Row{28, 40, "LOC", false, 9}));
  // What both found has the tagger's score.
  EXPECT_EQ(MergeEntities(tagged, listed, terms, Precedence::kTerms)[0].entity.score, 0.5);
}

TEST(TermEntities, AtOnePlaceWithTwoTypesOneStands) {
  for (const auto& [precedence, type] :
       {std::pair{Precedence::kLongest, "PER"}, {Precedence::kTagger, "PER"}, {Precedence::kTerms, "ORG"}}) {
    const auto merged = MergeEntities({At(2, 6, "PER", 0.5)}, {At(2, 6, "ORG", 1)}, {0}, precedence);
    ASSERT_EQ(merged.size(), 1U);
    EXPECT_EQ(merged[0].entity.type, type);
  }
}

// Some that do not overlap, in the order of the text.
std::vector<Entity> Draw(std::mt19937& random, double score) {
  std::vector<Entity> entities;
  for (int64_t at = 0; at < 40;) {
    const auto start = at + static_cast<int64_t>(random() % 4), end = start + 1 + static_cast<int64_t>(random() % 5);
    entities.push_back(At(start, end, random() % 2 == 0 ? "A" : "B", score));
    at = end;
  }
  return entities;
}

bool Overlap(const Row& a, const Row& b) { return std::get<0>(a) < std::get<1>(b) && std::get<0>(b) < std::get<1>(a); }

// What is asked for, by loops: spaCy's filter_spans as it is written there, and "all of one side, and of the other what
// overlaps none of them".
std::vector<Row> Expected(const std::vector<Entity>& tagged, const std::vector<Entity>& listed, Precedence precedence) {
  std::vector<Row> all;
  for (const Entity& entity : tagged) all.emplace_back(entity.start, entity.end, entity.type, true, -1);
  for (size_t i = 0; i < listed.size(); ++i) {
    bool both = false;
    for (Row& row : all) {
      if (std::get<0>(row) != listed[i].start || std::get<1>(row) != listed[i].end ||
          std::get<2>(row) != listed[i].type)
        continue;
      std::get<4>(row) = static_cast<int32_t>(i);
      both = true;
    }
    if (!both) all.emplace_back(listed[i].start, listed[i].end, listed[i].type, false, static_cast<int32_t>(i));
  }
  std::vector<Row> result;
  if (precedence == Precedence::kLongest) {
    std::stable_sort(all.begin(), all.end(), [](const Row& a, const Row& b) {
      const auto key = [](const Row& row) { return std::pair(std::get<1>(row) - std::get<0>(row), -std::get<0>(row)); };
      return key(a) > key(b);
    });
    std::set<int64_t> seen;
    for (const Row& row : all) {
      if (seen.contains(std::get<0>(row)) || seen.contains(std::get<1>(row) - 1)) continue;
      result.push_back(row);
      for (int64_t at = std::get<0>(row); at < std::get<1>(row); ++at) seen.insert(at);
    }
  } else {
    const auto first = [&](const Row& row) {
      return precedence == Precedence::kTagger ? std::get<3>(row) : std::get<4>(row) >= 0;
    };
    for (const Row& row : all) {
      const bool free =
          std::none_of(all.begin(), all.end(), [&](const Row& other) { return first(other) && Overlap(row, other); });
      if (first(row) || free) result.push_back(row);
    }
  }
  std::sort(result.begin(), result.end());
  return result;
}

TEST(TermEntities, EqualToLoopsOnRandomPlaces) {
  std::mt19937 random(5);
  int both = 0, dropped = 0;
  for (int round = 0; round < 2000; ++round) {
    const std::vector<Entity> tagged = Draw(random, 0.5), listed = Draw(random, 1);
    std::vector<int32_t> terms(listed.size());
    for (size_t i = 0; i < terms.size(); ++i) terms[i] = static_cast<int32_t>(i);
    for (const Precedence precedence : {Precedence::kLongest, Precedence::kTagger, Precedence::kTerms}) {
      const std::vector<Row> merged = RowsOf(MergeEntities(tagged, listed, terms, precedence));
      ASSERT_EQ(merged, Expected(tagged, listed, precedence)) << round;
      for (const Row& row : merged) both += std::get<3>(row) && std::get<4>(row) >= 0;
      dropped += static_cast<int>(tagged.size() + listed.size() - merged.size());
    }
  }
  EXPECT_GT(both, 1000);
  EXPECT_GT(dropped, 1000);
}

}  // namespace
}  // namespace engram::tagging
