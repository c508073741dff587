#include "server/jobs/job_manager.h"

#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "core/base/files.h"
#include "core/checkpoint/version_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/jobs/recovery.h"
#include "tests/unit/server/jobs/job_manager_fixture.h"

namespace engram::server {
namespace {

using engram::v1::Job;
using engram::worker::v1::RunSpec;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST_F(JobManagerTest, ACollectionLeavesADataSetOnceHoweverOftenItIsPublished) {
  const auto collect = [this] {
    RunSpec spec;
    spec.mutable_collect()->set_dataset("pages");
    return manager_->Submit({}, Job(), spec, {})->name().substr(5);
  };
  const std::string rows = "{\"text\":\"one\"}\n{\"text\":\"two\"}\n";
  const std::string first = collect();
  launcher_.Run(0)->SucceedWithPages(rows, 2);
  const Job job = Await(first, engram::v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(job.result().dataset(), "datasets/pages");
  EXPECT_EQ(job.result().version(), "");
  const absl::StatusOr<jobs::DatasetRecord> dataset = store_->GetDataset("pages");
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ(dataset->training_rows, 2);
  EXPECT_EQ(dataset->digest, Sha256Hex(Sha256Hex(rows) + Sha256Hex("")));
  EXPECT_EQ(*ReadFile(paths_.training("pages")), rows);
  EXPECT_EQ(*ReadFile(paths_.pages("pages")), "pages of 2\n");
  // As after a kill between the data set's appearance and the job's end: the same again is no error.
  const std::string again = collect();
  launcher_.Run(1)->SucceedWithPages(rows, 2);
  EXPECT_EQ(Await(again, engram::v1::JOB_STATE_SUCCEEDED).result().dataset(), "datasets/pages");
  // Another one that took the name meanwhile stays as it is.
  const std::string other = collect();
  launcher_.Run(2)->SucceedWithPages("{\"text\":\"three\"}\n", 1);
  EXPECT_EQ(Await(other, engram::v1::JOB_STATE_FAILED).error().reason(), "DATASET_EXISTS");
  EXPECT_EQ(*ReadFile(paths_.training("pages")), rows);
  Restart();
  EXPECT_TRUE(RemoveOrphans(*store_, paths_, DatabaseAge::kCurrent).ok());
  EXPECT_TRUE(PathExists(paths_.pages("pages")));
}

TEST_F(JobManagerTest, RunsByPriorityThenAgeAndPublishesOnce) {
  const std::string first = Add();
  launcher_.Run(0);  // it has the device when the others come
  const std::string second = Add(), urgent = Add(5);
  for (const auto& [n, id] : {std::pair{0, first}, std::pair{1, urgent}, std::pair{2, second}}) {
    const auto run = launcher_.Run(static_cast<size_t>(n));
    EXPECT_EQ(run->directory(), paths_.run(id));
    run->Succeed();
    const Job job = Await(id, engram::v1::JOB_STATE_SUCCEEDED);
    EXPECT_EQ(job.result().version(), absl::StrCat("models/news/versions/", run->spec().version()));
    EXPECT_EQ(job.result().steps(), 7);
    EXPECT_TRUE(PathExists(paths_.version("news", run->spec().version()) + "/engram.json"));
  }
  EXPECT_EQ(store_->GetModel("news")->versions, 4);
  ExpectNoRunDirectories();
}

TEST_F(JobManagerTest, APublishedVersionIsToldOnceItCanBeAskedFor) {
  absl::Mutex mutex;
  std::vector<int64_t> told;
  absl::Duration at_work = absl::ZeroDuration();
  published_ = [&](const std::string& model, int64_t number) {
    EXPECT_TRUE(store_->GetVersion(model, number).ok());
    absl::MutexLock lock(&mutex);
    told.push_back(number);
    at_work = manager_->working();
  };
  const std::string first = Add();
  launcher_.Run(0)->Succeed();
  const Job made = Await(first, engram::v1::JOB_STATE_SUCCEEDED);
  const std::string second = Add();
  launcher_.Run(1)->Fail("DATASET_DAMAGED");
  Await(second, engram::v1::JOB_STATE_FAILED);
  absl::MutexLock lock(&mutex);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(made.result().version(), absl::StrCat("models/news/versions/", told[0]));
  EXPECT_GT(at_work, absl::ZeroDuration()) << "publishing is work";
  const absl::Time end = Clock::Steady().Now() + kPatience;
  while (manager_->working() > absl::ZeroDuration() && Clock::Steady().Now() < end) std::this_thread::yield();
  EXPECT_EQ(manager_->working(), absl::ZeroDuration());
}

TEST_F(JobManagerTest, NoJobsAreCountedWhereTheyCannotBeRead) {
  EXPECT_THAT(*manager_->CountStates(), ElementsAre(Pair("paused", 0), Pair("queued", 0), Pair("running", 0)));
  auto database = jobs::Database::Open(paths_.database());
  ASSERT_TRUE(database.ok());
  ASSERT_TRUE((*database)->Script("ALTER TABLE jobs RENAME TO hidden").ok());
  EXPECT_FALSE(manager_->CountStates().ok());
  ASSERT_TRUE((*database)->Script("ALTER TABLE hidden RENAME TO jobs").ok());
  EXPECT_TRUE(manager_->CountStates().ok());
}

TEST_F(JobManagerTest, ACrashStartsItAgainAndTheThirdWithoutACheckpointFailsIt) {
  const std::string id = Add();
  launcher_.Run(0)->Exit(-1, 9);
  launcher_.Run(1)->Exit(-1, 11);
  launcher_.Run(2)->Checkpoint();  // it got further: the count begins anew
  launcher_.Run(2)->Exit(-1, 9);
  launcher_.Run(3)->Exit(1);
  launcher_.Run(4)->Exit(-1, 9);
  const Job job = Await(id, engram::v1::JOB_STATE_FAILED);
  EXPECT_EQ(job.error().reason(), "WORKER_CRASHED");
  EXPECT_THAT(job.error().message(), HasSubstr("memory"));
  EXPECT_EQ(job.attempts(), 5);
  EXPECT_EQ(launcher_.count(), 5);
}

TEST_F(JobManagerTest, PausesAndResumesQueuedAndRunningJobs) {
  const std::string running = Add();
  const auto run = launcher_.Run(0);
  const std::string queued = Add();
  EXPECT_EQ(manager_->Pause(queued)->state(), engram::v1::JOB_STATE_PAUSED);
  ASSERT_TRUE(manager_->Pause(running).ok());
  run->AwaitStop();
  run->Exit(jobs::kExitResumable);
  Await(running, engram::v1::JOB_STATE_PAUSED);
  EXPECT_EQ(launcher_.count(), 1);  // nothing else was queued
  EXPECT_EQ(StatusReason(manager_->Resume("01ARZ3NDEKTSV4RRFFQ69G5FAV").status()), "JOB_NOT_FOUND");
  ASSERT_TRUE(manager_->Resume(running).ok());
  EXPECT_EQ(StatusReason(manager_->Resume(running).status()), "JOB_NOT_PAUSED");
  launcher_.Run(1)->Succeed();
  EXPECT_EQ(Await(running, engram::v1::JOB_STATE_SUCCEEDED).attempts(), 2);
  EXPECT_EQ(StatusReason(manager_->Pause(running).status()), "JOB_ENDED");
  EXPECT_EQ(StatusReason(manager_->Resume(running).status()), "JOB_ENDED");
}

TEST_F(JobManagerTest, AWorkerThatCrashesInsteadOfPausingIsPausedAllTheSame) {
  const std::string id = Add();
  const auto run = launcher_.Run(0);
  ASSERT_TRUE(manager_->Pause(id).ok());
  run->Exit(-1, 11);
  Await(id, engram::v1::JOB_STATE_PAUSED);
  EXPECT_EQ(launcher_.count(), 1);
}

TEST_F(JobManagerTest, CancelsQueuedAndRunningJobsAndLeavesEndedOnes) {
  const std::string running = Add();
  launcher_.Run(0);
  const std::string queued = Add();
  EXPECT_EQ(manager_->Cancel(queued)->state(), engram::v1::JOB_STATE_CANCELLED);
  ASSERT_TRUE(manager_->Cancel(running).ok());  // the worker is killed
  Await(running, engram::v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(manager_->Cancel(running)->state(), engram::v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(launcher_.count(), 1);
  ExpectNoRunDirectories();
}

TEST_F(JobManagerTest, WhatWasAskedOfARunOutlivesTheServer) {
  const std::string cancelled = Add();
  const auto first = launcher_.Run(0);
  first->Linger();
  EXPECT_EQ(manager_->Cancel(cancelled)->state(), engram::v1::JOB_STATE_RUNNING);
  RestartAsKilled(*first);
  EXPECT_EQ(manager_->Get(cancelled)->state(), engram::v1::JOB_STATE_CANCELLED);
  EXPECT_FALSE(PathExists(paths_.run(cancelled)));

  const std::string paused = Add();
  const auto second = launcher_.Run(1);  // the cancelled job was not started again
  second->Linger();
  EXPECT_EQ(manager_->Pause(paused)->state(), engram::v1::JOB_STATE_RUNNING);
  RestartAsKilled(*second);
  EXPECT_EQ(manager_->Get(paused)->state(), engram::v1::JOB_STATE_PAUSED);
  EXPECT_TRUE(PathExists(paths_.run(paused)));  // its checkpoint is in there
  EXPECT_EQ(launcher_.count(), 2);
  ASSERT_TRUE(manager_->Resume(paused).ok());
  launcher_.Run(2)->Succeed();
  EXPECT_EQ(Await(paused, engram::v1::JOB_STATE_SUCCEEDED).attempts(), 2);
}

TEST_F(JobManagerTest, OneRequestIdMakesOneJobAlsoAtTheSameTime) {
  std::vector<std::thread> threads;
  absl::Mutex mutex;
  std::set<std::string> names;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const auto job = Submit(0, {"once", "StartTask", "digest"});
      ASSERT_TRUE(job.ok()) << job.status();
      absl::MutexLock lock(&mutex);
      names.insert(job->name());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(names.size(), 1);
  EXPECT_EQ(store_->UnfinishedJobs()->size(), 1);
}

TEST_F(JobManagerTest, ShutDownKeepsJobsAndTellsWatchers) {
  const std::string id = Add();
  const auto run = launcher_.Run(0);
  absl::Status last;
  ASSERT_TRUE(manager_->Watch(id, [&](const absl::StatusOr<Job>& job) { last = job.status(); }).ok());
  std::thread stopping([&] { manager_->ShutDown(kPatience); });
  run->AwaitStop();
  run->Exit(jobs::kExitResumable);
  stopping.join();
  EXPECT_EQ(StatusReason(last), "DRAINING");
  EXPECT_EQ(StatusReason(Submit().status()), "DRAINING");
  Restart();
  launcher_.Run(1)->Succeed();
  Await(id, engram::v1::JOB_STATE_SUCCEEDED);
}

TEST_F(JobManagerTest, TakesUpAResultThatTheServerDidNotSee) {
  const std::string id = Add();
  const auto run = launcher_.Run(0);
  manager_.reset();  // killed: the run's end is not seen
  run->Succeed();
  Restart();
  Await(id, engram::v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(launcher_.count(), 1);
}

TEST_F(JobManagerTest, TakesUpAVersionThatWasRenamedButNotRecorded) {
  const std::string id = Add();
  const auto run = launcher_.Run(0);
  const int64_t number = run->spec().version();
  manager_.reset();
  run->Succeed();
  ASSERT_TRUE(MakeDirectories(paths_.versions("news")).ok());
  ASSERT_TRUE(checkpoint::PublishDirectory(paths_.run(id) + "/output", paths_.version("news", number)).ok());
  ASSERT_TRUE(RemoveOrphans(*store_, paths_, DatabaseAge::kCurrent).ok());  // the number is the job's: no orphan
  Restart();
  EXPECT_EQ(Await(id, engram::v1::JOB_STATE_SUCCEEDED).result().version(),
            absl::StrCat("models/news/versions/", number));
  EXPECT_TRUE(store_->GetVersion("news", number).ok());
}

TEST_F(JobManagerTest, ADirectoryThatIsThereAlreadyIsNeverTakenForTheOutput) {
  const std::string id = Add();
  const auto run = launcher_.Run(0);
  ASSERT_TRUE(MakeDirectories(paths_.version("news", run->spec().version())).ok());
  run->Succeed();
  EXPECT_EQ(Await(id, engram::v1::JOB_STATE_FAILED).error().reason(), "VERSION_EXISTS");
}

TEST_F(JobManagerTest, ADamagedResultFailsItsJobAndNotTheServer) {
  const std::string id = Add(), other = Add();
  const auto run = launcher_.Run(0);
  manager_.reset();
  ASSERT_TRUE(WriteFileAtomic(run->directory() + "/result.binpb", "\xFF\xFF").ok());
  Restart();
  Await(id, engram::v1::JOB_STATE_FAILED);
  launcher_.Run(1)->Succeed();
  Await(other, engram::v1::JOB_STATE_SUCCEEDED);
}

TEST_F(JobManagerTest, AnEndThatTheStoreDoesNotTakeIsRecordedLater) {
  const std::string id = Add(), other = Add();
  auto database = jobs::Database::Open(paths_.database());
  ASSERT_TRUE(database.ok());
  ASSERT_TRUE(
      (*database)
          ->Script("CREATE TRIGGER refuse BEFORE UPDATE OF outcome ON jobs BEGIN SELECT RAISE(ABORT, 'no'); END")
          .ok());
  launcher_.Run(0)->Succeed();
  const auto next = launcher_.Run(1);  // the device was given back, so the first run has ended
  EXPECT_EQ(store_->GetJob(id)->state, jobs::JobState::kRunning);
  EXPECT_TRUE(PathExists(paths_.run(id)));
  ASSERT_TRUE((*database)->Script("DROP TRIGGER refuse").ok());
  EXPECT_EQ(Await(id, engram::v1::JOB_STATE_SUCCEEDED).result().steps(), 7);
  next->Succeed();
  Await(other, engram::v1::JOB_STATE_SUCCEEDED);
  ExpectNoRunDirectories();
}

// The thread sleeps without a limit when the call fails to record the end.
TEST_F(JobManagerTest, ACancelThatTheStoreDoesNotTakeIsRecordedLater) {
  const std::string running = Add();
  launcher_.Run(0);
  Await(running, engram::v1::JOB_STATE_RUNNING);
  const std::string id = Add();
  absl::Notification cancelled;
  const auto watching = manager_->Watch(id, [&](const absl::StatusOr<Job>& job) {
    if (job.ok() && job->state() == engram::v1::JOB_STATE_CANCELLED) cancelled.Notify();
  });
  ASSERT_TRUE(watching.ok());
  auto database = jobs::Database::Open(paths_.database());
  ASSERT_TRUE(database.ok());
  ASSERT_TRUE(
      (*database)
          ->Script("CREATE TRIGGER refuse BEFORE UPDATE OF outcome ON jobs BEGIN SELECT RAISE(ABORT, 'no'); END")
          .ok());
  EXPECT_EQ(manager_->Cancel(id)->state(), engram::v1::JOB_STATE_QUEUED);
  ASSERT_TRUE((*database)->Script("DROP TRIGGER refuse").ok());
  EXPECT_TRUE(cancelled.WaitForNotificationWithTimeout(kPatience));
  manager_->Unwatch(*watching);
}

TEST_F(JobManagerTest, ARunThatCannotBeStartedForNowIsStartedLaterAndLosesNothing) {
  const std::string first = Add();
  launcher_.Run(0);
  const std::string id = Add();
  ASSERT_TRUE(MakeDirectories(paths_.run(id)).ok());
  ASSERT_TRUE(WriteFileAtomic(paths_.run(id) + "/checkpoint.safetensors", "hours of work").ok());
  launcher_.Refuse(3);
  launcher_.Run(0)->Succeed();
  const auto run = launcher_.Run(1);
  EXPECT_TRUE(PathExists(run->directory() + "/checkpoint.safetensors"));
  run->Succeed();
  Await(id, engram::v1::JOB_STATE_SUCCEEDED);
}

TEST_F(JobManagerTest, AJobWhoseRunIsPutOffCanBeCancelled) {
  launcher_.Refuse(1'000'000);
  const std::string id = Add();
  ASSERT_TRUE(manager_->Cancel(id).ok());
  Await(id, engram::v1::JOB_STATE_CANCELLED);
  launcher_.Refuse(0);
  const std::string next = Add();
  launcher_.Run(0)->Succeed();
  Await(next, engram::v1::JOB_STATE_SUCCEEDED);
}

// A launcher whose runs outlive the server: nothing is stopped, nothing is started twice.
TEST_F(JobManagerTest, ARunThatOutlivedItsServerIsAttachedTo) {
  launcher_.Outlive();
  const std::string id = Add(), waiting = Add();
  const auto run = launcher_.Run(0);
  run->Progress(3);
  manager_.reset();
  store_.reset();
  Open();
  EXPECT_EQ(store_->GetJob(id)->state, jobs::JobState::kRunning);
  Start();
  EXPECT_EQ(manager_->Get(id)->state(), engram::v1::JOB_STATE_RUNNING);
  EXPECT_EQ(manager_->Get(waiting)->state(), engram::v1::JOB_STATE_QUEUED);  // the device is taken
  run->Progress(5);
  EXPECT_EQ(manager_->Get(id)->progress().step(), 5);
  EXPECT_EQ(launcher_.count(), 1);
  run->Succeed();
  EXPECT_EQ(Await(id, engram::v1::JOB_STATE_SUCCEEDED).attempts(), 1);
  launcher_.Run(1)->Succeed();
  Await(waiting, engram::v1::JOB_STATE_SUCCEEDED);
}

TEST_F(JobManagerTest, WatchersOfARunAreToldWithoutTheDatabase) {
  const std::string id = Add();
  const auto run = launcher_.Run(0);
  Await(id, engram::v1::JOB_STATE_RUNNING);
  int64_t seen = -1;
  const auto watching = manager_->Watch(id, [&](const absl::StatusOr<Job>& job) {
    if (job.ok()) seen = job->progress().step();
  });
  ASSERT_TRUE(watching.ok());
  auto database = jobs::Database::Open(paths_.database());
  ASSERT_TRUE(database.ok());
  ASSERT_TRUE((*database)->Script("ALTER TABLE jobs RENAME TO hidden").ok());
  run->Progress(11);
  EXPECT_EQ(seen, 11);
  EXPECT_EQ(manager_->Get(id)->progress().step(), 11);
  ASSERT_TRUE((*database)->Script("ALTER TABLE hidden RENAME TO jobs").ok());
  manager_->Unwatch(*watching);
}

TEST_F(JobManagerTest, ALackPostponesTheJobAndShowsUntilItPasses) {
  const std::string id = Add();
  const auto run = launcher_.Run(0);
  ASSERT_TRUE(WriteFileAtomic(paths_.run(id) + "/checkpoint.safetensors", "hours of work").ok());
  bool shown = false;
  const auto watching = manager_->Watch(id, [&](const absl::StatusOr<Job>& job) {
    if (job.ok() && job->postponed().reason().reason() == "DISK_FULL" && job->postponed().tries() == 1) shown = true;
  });
  run->Lack(absl::StatusCode::kResourceExhausted, "DISK_FULL");
  const auto again = launcher_.Run(1);
  Await(id, engram::v1::JOB_STATE_RUNNING);
  manager_->Unwatch(*watching);
  EXPECT_TRUE(shown);
  EXPECT_FALSE(manager_->Get(id)->has_postponed());
  EXPECT_TRUE(PathExists(paths_.run(id) + "/checkpoint.safetensors"));
  again->Succeed();
  Await(id, engram::v1::JOB_STATE_SUCCEEDED);
}
}  // namespace
}  // namespace engram::server
