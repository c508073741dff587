#include <string>
#include <vector>

#include "core/tagging/bio.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::tagging {
namespace {

using ::testing::ElementsAre;
using Tags = std::vector<std::string>;

// The word that is complained of; -1: none.
int64_t ProblemAt(const Tags& tags, TagScheme scheme) {
  const NormalisedTags normalised = NormaliseTags(tags, scheme);
  return normalised.problem ? static_cast<int64_t>(normalised.problem->word) : -1;
}

TEST(Schemes, BioesAndBilouHaveTheSameEnds) {
  EXPECT_THAT(NormaliseTags(Tags{"B-a", "I-a", "E-a", "S-b", "O"}, TagScheme::kBioes).tags,
              ElementsAre("B-a", "I-a", "I-a", "B-b", "O"));
  EXPECT_THAT(NormaliseTags(Tags{"B-a", "I-a", "L-a", "U-b", "O"}, TagScheme::kBioes).tags,
              ElementsAre("B-a", "I-a", "I-a", "B-b", "O"));
}

TEST(Schemes, BioesEntitiesThatDoNotEndOrDoNotBeginAreNamed) {
  EXPECT_EQ(ProblemAt({"S-a", "B-a", "I-a"}, TagScheme::kBioes), 2) << "the text ends inside";
  EXPECT_EQ(ProblemAt({"B-a", "O"}, TagScheme::kBioes), 1);
  EXPECT_EQ(ProblemAt({"B-a", "E-b"}, TagScheme::kBioes), 1);
  EXPECT_EQ(ProblemAt({"O", "E-a"}, TagScheme::kBioes), 1);
  EXPECT_EQ(ProblemAt({"B-a", "E-a", "S-b"}, TagScheme::kBioes), -1);
}

TEST(Schemes, Bio2AndIob1NameWhatTheyDoNotAllow) {
  EXPECT_EQ(ProblemAt({"B-a", "I-b"}, TagScheme::kBio2), 1);
  EXPECT_EQ(ProblemAt({"B-a", "I-a"}, TagScheme::kBio2), -1);
  EXPECT_EQ(ProblemAt({"I-a", "O", "B-a"}, TagScheme::kIob1), 2);
  EXPECT_EQ(ProblemAt({"I-a", "B-a"}, TagScheme::kIob1), -1);
  EXPECT_EQ(ProblemAt({"S-a"}, TagScheme::kBio2), 0);
}

TEST(Schemes, AreToldApartByAllSentences) {
  const Tags inside = {"O", "I-a"}, between = {"I-a", "B-a"}, begins = {"O", "B-a"}, ends = {"B-a", "E-a"};
  EXPECT_EQ(DetectScheme(std::vector<Tags>{inside, between}), TagScheme::kIob1);
  EXPECT_EQ(DetectScheme(std::vector<Tags>{inside, begins}), TagScheme::kBio2);
  EXPECT_EQ(DetectScheme(std::vector<Tags>{between}), TagScheme::kIob1) << "it begins with an I tag";
  EXPECT_EQ(DetectScheme(std::vector<Tags>{{"O", "O"}}), TagScheme::kBio2);
  EXPECT_EQ(DetectScheme(std::vector<Tags>{begins, ends}), TagScheme::kBioes);
}

}  // namespace
}  // namespace engram::tagging
