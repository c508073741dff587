#include "server/library/discard.h"

#include "core/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/checkpoint/temporary_directory.h"

namespace engram::server {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class Discard : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(MakeDirectories(paths_.staging()), absl::OkStatus());
    Make();
  }
  void Make() {
    ASSERT_EQ(MakeDirectories(paths_.dataset("news") + "/deep"), absl::OkStatus());
    ASSERT_EQ(WriteFileAtomic(paths_.dataset("news") + "/deep/file", "x"), absl::OkStatus());
  }

  const checkpoint::TemporaryDirectory directory_;
  const DataPaths paths_{directory_.path()};
};

TEST_F(Discard, TheNameIsFreeBeforeTheFilesAreGone) {
  const auto first = MoveToStaging(paths_, paths_.dataset("news"));
  ASSERT_EQ(first.status(), absl::OkStatus());
  EXPECT_FALSE(PathExists(paths_.dataset("news")));
  EXPECT_EQ(*ReadFile(*first + "/deep/file"), "x");
  // The same name again, while the first one is still there.
  Make();
  const auto second = MoveToStaging(paths_, paths_.dataset("news"));
  ASSERT_EQ(second.status(), absl::OkStatus());
  EXPECT_THAT(*ListDirectory(paths_.staging()), SizeIs(2));
  RemoveStaged(*first);
  EXPECT_TRUE(PathExists(*second));
  RemoveStaged(*second);
  EXPECT_THAT(*ListDirectory(paths_.staging()), IsEmpty());
}

TEST_F(Discard, NothingThereIsNothingToDo) {
  const auto staged = MoveToStaging(paths_, paths_.dataset("other"));
  ASSERT_EQ(staged.status(), absl::OkStatus());
  EXPECT_EQ(*staged, "");
  RemoveStaged(*staged);
  EXPECT_TRUE(PathExists(paths_.dataset("news")));
}

}  // namespace
}  // namespace engram::server
