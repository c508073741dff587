#include "server/library/tag_trial.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::server {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(TagTrial, EntitiesThatBeginInsideAreOfIob1) {
  const TagTrial found = JudgeTagScheme(/*begin=*/1, /*inside=*/17);
  EXPECT_EQ(found.scheme, "iob1");
  EXPECT_THAT(found.said, HasSubstr("17 of 18 entities began with I-x"));
  EXPECT_THAT(found.said, HasSubstr("--tag-scheme bio2"));
}

TEST(TagTrial, FewEntitiesLeaveItOpen) {
  for (const auto& [begin, inside] : {std::pair<int64_t, int64_t>(0, 0), {4, 0}, {0, 4}, {2, 2}}) {
    const TagTrial found = JudgeTagScheme(begin, inside);
    EXPECT_EQ(found.scheme, "lenient") << begin << " " << inside;
    EXPECT_THAT(found.said, HasSubstr("--tag-scheme bio2 or iob1"));
  }
}

TEST(TagTrial, ElseItIsBio2) {
  for (const auto& [begin, inside] : {std::pair<int64_t, int64_t>(20, 0), {5, 0}, {5, 14}, {4, 4}}) {
    const TagTrial found = JudgeTagScheme(begin, inside);
    EXPECT_THAT(found.scheme, IsEmpty()) << begin << " " << inside;
    EXPECT_THAT(found.said, IsEmpty());
  }
  EXPECT_EQ(JudgeTagScheme(5, 15).scheme, "iob1");
}

}  // namespace
}  // namespace engram::server
