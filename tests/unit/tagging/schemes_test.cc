#include <string>
#include <vector>

#include "core/tagging/bio.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::tagging {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Tags = std::vector<std::string>;

std::vector<size_t> DeviatingWords(const Tags& tags, TagScheme scheme) {
  std::vector<size_t> words;
  for (const TagProblem& problem : Deviations(tags, scheme)) words.push_back(problem.word);
  return words;
}

TagScheme SchemeOf(const std::vector<Tags>& sentences) {
  SchemeDetector detector;
  for (const Tags& tags : sentences) detector.Add(tags);
  return detector.scheme();
}

TEST(Schemes, BioesBilouAndBmesHaveTheSameEnds) {
  const auto read = ElementsAre("B-a", "I-a", "I-a", "B-b", "O");
  EXPECT_THAT(ToBio2(Tags{"B-a", "I-a", "E-a", "S-b", "O"}), read);
  EXPECT_THAT(ToBio2(Tags{"B-a", "I-a", "L-a", "U-b", "O"}), read);
  EXPECT_THAT(ToBio2(Tags{"B-a", "M-a", "E-a", "S-b", "O"}), read);
  EXPECT_TRUE(UnknownTags(Tags{"B-a", "I-a", "M-a", "E-a", "L-a", "S-a", "U-a", "O"}).empty());
  // What follows an end or a single word begins anew, whatever its prefix.
  for (const char* end : {"E-a", "L-a"})
    EXPECT_THAT(ToBio2(Tags{"B-a", end, "I-a", end}), ElementsAre("B-a", "I-a", "B-a", "I-a")) << end;
  for (const char* single : {"S-a", "U-a"})
    EXPECT_THAT(ToBio2(Tags{single, "I-a", single}), ElementsAre("B-a", "B-a", "B-a")) << single;
}

TEST(Schemes, BioesEntitiesThatDoNotEndOrDoNotBeginAreNamed) {
  EXPECT_THAT(DeviatingWords({"S-a", "B-a", "I-a"}, TagScheme::kBioes), ElementsAre(2)) << "the text ends inside";
  EXPECT_THAT(DeviatingWords({"B-a"}, TagScheme::kBioes), ElementsAre(0));
  EXPECT_THAT(DeviatingWords({"B-a", "O"}, TagScheme::kBioes), ElementsAre(0));
  EXPECT_THAT(DeviatingWords({"B-a", "S-a"}, TagScheme::kBioes), ElementsAre(0));
  EXPECT_THAT(DeviatingWords({"B-a", "E-b"}, TagScheme::kBioes), ElementsAre(0, 1)) << "neither ends the other";
  EXPECT_THAT(DeviatingWords({"O", "E-a"}, TagScheme::kBioes), ElementsAre(1));
  EXPECT_THAT(DeviatingWords({"O", "I-a", "E-a"}, TagScheme::kBioes), ElementsAre(1)) << "its end is right";
  EXPECT_THAT(DeviatingWords({"B-a", "E-a", "E-a"}, TagScheme::kBioes), ElementsAre(2));
  EXPECT_THAT(DeviatingWords({"B-a", "E-a", "S-b", "B-b", "I-b", "E-b"}, TagScheme::kBioes), IsEmpty());
  EXPECT_THAT(Deviations(Tags{"B-a", "I-a"}, TagScheme::kBioes)[0].message, HasSubstr("tag \"I-a\" has no E-a"));
  EXPECT_THAT(Deviations(Tags{"E-a"}, TagScheme::kBioes)[0].message, HasSubstr("B-a or S-a"));
}

TEST(Schemes, Bio2AndIob1NameWhatTheyDoNotAllow) {
  EXPECT_THAT(DeviatingWords({"B-a", "I-b"}, TagScheme::kBio2), ElementsAre(1));
  EXPECT_THAT(DeviatingWords({"I-a", "I-a"}, TagScheme::kBio2), ElementsAre(0)) << "the second continues the first";
  EXPECT_THAT(DeviatingWords({"B-a", "I-a", "B-a", "O", "B-b"}, TagScheme::kBio2), IsEmpty());
  EXPECT_THAT(DeviatingWords({"I-a", "O", "B-a"}, TagScheme::kIob1), ElementsAre(2));
  EXPECT_THAT(DeviatingWords({"I-b", "B-a"}, TagScheme::kIob1), ElementsAre(1)) << "another type needs no B";
  EXPECT_THAT(DeviatingWords({"I-a", "B-a", "I-a", "I-b"}, TagScheme::kIob1), IsEmpty());
  for (const TagScheme scheme : {TagScheme::kBio2, TagScheme::kIob1}) {
    EXPECT_THAT(DeviatingWords({"S-a"}, scheme), ElementsAre(0));
    EXPECT_THAT(DeviatingWords({"O", "U-a"}, scheme), ElementsAre(1));
    EXPECT_THAT(Deviations(Tags{"S-a"}, scheme)[0].message, HasSubstr("BIOES"));
  }
}

TEST(Schemes, AreToldApartByAllSentences) {
  const Tags inside = {"O", "I-a"}, between = {"I-a", "B-a"}, begins = {"O", "B-a"}, ends = {"B-a", "E-a"};
  EXPECT_EQ(SchemeOf({inside, between}), TagScheme::kIob1);
  EXPECT_EQ(SchemeOf({between}), TagScheme::kIob1) << "BIO2 would not begin with an I tag";
  EXPECT_EQ(SchemeOf({inside, begins, begins}), TagScheme::kBio2) << "one tag is out of BIO2, two are out of IOB1";
  EXPECT_EQ(SchemeOf({begins, inside, inside}), TagScheme::kIob1);
  EXPECT_EQ(SchemeOf({inside, begins}), TagScheme::kIob1) << "as many are out of both: the first entity decides";
  EXPECT_EQ(SchemeOf({begins, inside}), TagScheme::kBio2);
  EXPECT_EQ(SchemeOf({{"O", "O"}}), TagScheme::kBio2);
  EXPECT_EQ(SchemeOf({}), TagScheme::kBio2);
  EXPECT_EQ(SchemeOf({ends}), TagScheme::kBioes);
  EXPECT_EQ(SchemeOf({begins, ends}), TagScheme::kBio2) << "a tag is out of each: BIOES needs fewer than the others";
  EXPECT_EQ(SchemeOf({begins, ends, ends}), TagScheme::kBioes);
}

}  // namespace
}  // namespace engram::tagging
