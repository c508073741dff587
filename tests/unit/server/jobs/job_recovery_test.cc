// What jobs, runs and directories are at the next start: failed jobs that go on, what is forgotten, what lies where the store
// knows nothing of it.

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/data_mark.h"
#include "server/jobs/recovery.h"
#include "tests/unit/server/jobs/job_manager_fixture.h"

namespace engram::server {
namespace {

using engram::v1::Job;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST_F(JobManagerTest, AFailedJobGoesOnFromItsCheckpointWhileThatIsKept) {
  const std::string id = Add();
  const auto run = launcher_.Run(0);
  const int64_t number = run->spec().version();
  ASSERT_TRUE(WriteFileAtomic(paths_.run(id) + "/checkpoint.safetensors", "hours of work").ok());
  ASSERT_TRUE(MakeDirectories(paths_.run(id) + "/output").ok());
  run->Fail("TRAINING_DIVERGED");
  const Job failed = Await(id, engram::v1::JOB_STATE_FAILED);
  EXPECT_EQ(failed.resumable_until().seconds(), absl::ToUnixSeconds(clock_.Now()) + 7 * 24 * 3600);
  Restart();  // what is kept outlives the server
  EXPECT_THAT(*ListDirectory(paths_.run(id)), ElementsAre("checkpoint.safetensors", "spec.binpb"));
  ASSERT_TRUE(manager_->Resume(id).ok());
  const auto again = launcher_.Run(1);
  EXPECT_EQ(again->spec().version(), number);
  EXPECT_TRUE(PathExists(paths_.run(id) + "/checkpoint.safetensors"));
  again->Succeed();
  EXPECT_FALSE(Await(id, engram::v1::JOB_STATE_SUCCEEDED).has_resumable_until());
  EXPECT_EQ(StatusReason(manager_->Resume(id).status()), "JOB_ENDED");
  ExpectNoRunDirectories();
}

TEST_F(JobManagerTest, AFailedJobIsForgottenInTime) {
  const std::string id = Add();
  launcher_.Run(0)->Fail("TRAINING_DIVERGED");
  Await(id, engram::v1::JOB_STATE_FAILED);
  clock_.Advance(absl::Hours(24 * 7) - absl::Seconds(1));
  Restart();
  EXPECT_TRUE(PathExists(paths_.run(id)));
  EXPECT_TRUE(manager_->Get(id)->has_resumable_until());
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(StatusReason(manager_->Resume(id).status()), "JOB_ENDED");
  Restart();
  EXPECT_FALSE(PathExists(paths_.run(id)));
}

TEST_F(JobManagerTest, AnErrorThatWasLeftBehindIsNotTakenForTheResumedRuns) {
  const std::string id = Add();
  const auto run = launcher_.Run(0);
  run->Fail("TRAINING_DIVERGED");
  Await(id, engram::v1::JOB_STATE_FAILED);
  manager_.reset();
  // As if the server had been killed between the record and the removal.
  ASSERT_TRUE(WriteFileAtomic(paths_.run(id) + "/result.binpb", "the old error").ok());
  Restart();
  ASSERT_TRUE(manager_->Resume(id).ok());
  launcher_.Run(1);
  EXPECT_FALSE(PathExists(paths_.run(id) + "/result.binpb"));
}

TEST_F(JobManagerTest, RunsOfANewerDatabaseStay) {
  ASSERT_TRUE(MakeDirectories(paths_.run("01UNHEARDOF")).ok());
  Restart();
  EXPECT_TRUE(PathExists(paths_.run("01UNHEARDOF")));
}

TEST_F(JobManagerTest, OrphansGoAndWhatTheStoreDoesNotKnowStays) {
  const int64_t lost = *store_->ReserveVersion("news");
  ASSERT_TRUE(store_->AddDataset({"emotion", 1, 2, 0, {"a", "b"}, "d", {}, 10}).ok());
  ASSERT_TRUE(store_->ExpectDataset("half").ok());
  for (const std::string& directory :
       {paths_.version("news", 1), paths_.version("news", lost), paths_.version("news", lost + 5),
        paths_.version("olds", 1), paths_.dataset("emotion"), paths_.dataset("half"), paths_.dataset("newer"),
        paths_.staging() + "/x"}) {
    ASSERT_TRUE(MakeDirectories(directory).ok());
  }
  ASSERT_TRUE(RemoveOrphans(*store_, paths_, DatabaseAge::kCurrent).ok());
  EXPECT_THAT(*ListDirectory(paths_.versions("news")), ElementsAre("1", absl::StrCat(lost + 5)));
  EXPECT_THAT(*ListDirectory(paths_.versions("olds")), ElementsAre("1"));
  EXPECT_THAT(*ListDirectory(paths_.datasets()), ElementsAre("emotion", "newer"));
  EXPECT_THAT(*ListDirectory(paths_.staging()), IsEmpty());
  EXPECT_EQ(*store_->ReserveVersion("news"), lost + 6) << "what lies there keeps its number";
  EXPECT_EQ(*store_->ReserveVersion("olds"), 2);
}

TEST_F(JobManagerTest, BesideAnOlderDatabaseNothingGoesAndJobsMakeWay) {
  const int64_t lost = *store_->ReserveVersion("news");
  ASSERT_TRUE(store_->ExpectDataset("half").ok());
  const std::string id = Add();
  const int64_t number = launcher_.Run(0)->spec().version();
  manager_.reset();
  for (const std::string& directory :
       {paths_.version("news", lost), paths_.version("news", number), paths_.dataset("half")}) {
    ASSERT_TRUE(MakeDirectories(directory).ok());
  }
  ASSERT_TRUE(RemoveOrphans(*store_, paths_, DatabaseAge::kOlder).ok());
  // And no later start takes them for its own.
  ASSERT_TRUE(RemoveOrphans(*store_, paths_, DatabaseAge::kCurrent).ok());
  EXPECT_THAT(*ListDirectory(paths_.versions("news")), ElementsAre(absl::StrCat(lost), absl::StrCat(number)));
  EXPECT_THAT(*ListDirectory(paths_.datasets()), ElementsAre("half"));
  Restart();
  launcher_.Run(1)->Succeed();
  EXPECT_EQ(Await(id, engram::v1::JOB_STATE_SUCCEEDED).result().version(),
            absl::StrCat("models/news/versions/", number + 1));
}

TEST_F(JobManagerTest, ADatabaseThatIsNotThatOfItsDirectoriesIsNoticed) {
  manager_.reset();
  ASSERT_TRUE(CheckDatabaseIsThere(paths_).ok());
  EXPECT_EQ(*MarkStart(*store_, paths_), DatabaseAge::kCurrent);  // a data_dir of before there were marks
  store_.reset();
  const std::string copy = root_ + "/copy.db";
  ASSERT_TRUE(CopyFile(paths_.database(), copy).ok());
  Open();
  EXPECT_EQ(*MarkStart(*store_, paths_), DatabaseAge::kCurrent);
  store_.reset();
  ASSERT_TRUE(CopyFile(copy, paths_.database()).ok());
  Open();
  EXPECT_EQ(*MarkStart(*store_, paths_), DatabaseAge::kOlder);
  EXPECT_EQ(*MarkStart(*store_, paths_), DatabaseAge::kCurrent) << "it is the server's database from now on";

  ASSERT_TRUE(WriteFileAtomic(paths_.mark(), R"({"database": "another", "starts": 3})").ok());
  EXPECT_EQ(StatusReason(MarkStart(*store_, paths_).status()), "DATABASE_FOREIGN");
  ASSERT_TRUE(WriteFileAtomic(paths_.mark(), "{}").ok());
  EXPECT_EQ(StatusReason(MarkStart(*store_, paths_).status()), "MARK_DAMAGED");

  store_.reset();
  for (const char* what : {"empty", "missing"}) {
    ASSERT_TRUE(RemoveTree(paths_.database()).ok());
    if (std::string(what) == "empty") {
      ASSERT_TRUE(WriteFileAtomic(paths_.database(), "").ok());
    }
    EXPECT_EQ(StatusReason(CheckDatabaseIsThere(paths_)), "DATABASE_MISSING") << what;
  }
  ASSERT_TRUE(RemoveTree(paths_.mark()).ok());
  EXPECT_TRUE(CheckDatabaseIsThere(paths_).ok()) << "nothing lies there: it is a new one";
  ASSERT_TRUE(MakeDirectories(paths_.dataset("rows")).ok());
  EXPECT_EQ(StatusReason(CheckDatabaseIsThere(paths_)), "DATABASE_MISSING");
  Open();  // for TearDown
}
}  // namespace
}  // namespace engram::server
