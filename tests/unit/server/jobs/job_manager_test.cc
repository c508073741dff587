#include "server/jobs/job_manager.h"

#include <cstdlib>
#include <filesystem>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "core/base/files.h"
#include "core/checkpoint/version_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/data_mark.h"
#include "server/jobs/recovery.h"
#include "server/library/dataset_shelf.h"
#include "tests/unit/server/jobs/fake_launcher.h"

namespace engram::server {
namespace {

using engram::v1::Job;
using engram::worker::v1::RunSpec;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

class JobManagerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/engram-jobs-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    paths_.data_dir = root_ = pattern;
    ASSERT_TRUE(MakeDirectories(paths_.models()).ok());
    Open();
    jobs::VersionRecord base;
    base.model = "news";
    base.number = *store_->ReserveVersion("news");
    ASSERT_TRUE(store_->AddVersion(base, "stable", {}).ok());
    Start();
  }
  void TearDown() override {
    manager_.reset();
    store_.reset();
    ASSERT_TRUE(RemoveTree(root_).ok());
  }
  void Open() {
    auto store = jobs::Store::Open(paths_.database(), clock_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  void Start() {
    shelf_ = std::make_unique<DatasetShelf>(*store_, paths_);
    manager_ =
        std::make_unique<JobManager>(*store_, paths_, launcher_, *shelf_, metrics_, Clock::Steady(), clock_,
                                     JobManagerOptions{{"cpu"}, 0, 1000, /*max_crashes=*/3, absl::Milliseconds(10)});
    ASSERT_TRUE(manager_->Start().ok());
  }
  // As after the server's death: what it had not written is gone.
  void Restart() {
    manager_.reset();
    store_.reset();
    Open();
    Start();
  }
  // As after SIGKILL while `run` lingers: the next server finds the files of this moment.
  void RestartAsKilled(FakeRun& run) {
    const std::filesystem::path then = paths_.data_dir + "/killed";
    ASSERT_TRUE(MakeDirectories(then.string()).ok());
    for (const auto& entry : std::filesystem::directory_iterator(paths_.data_dir)) {
      if (entry.path() != then)
        std::filesystem::copy(entry.path(), then / entry.path().filename(), std::filesystem::copy_options::recursive);
    }
    run.LetGo();
    manager_.reset();
    store_.reset();
    paths_.data_dir = then.string();
    Open();
    Start();
  }
  absl::StatusOr<Job> Submit(int64_t priority = 0, const jobs::RequestKey& key = {}, const std::string& label = "") {
    jobs::JobRecord record;
    record.model = "news";
    record.base_version = 1;
    record.priority = priority;
    record.label = label;
    RunSpec spec;
    spec.set_model("news");
    spec.set_base_version(1);
    spec.mutable_train()->set_task("emotion");
    return manager_->Submit(record, Job(), spec, key);
  }
  // A job is seen to have ended a moment before its directory is gone; a manager that has shut down is through with it.
  void ExpectNoRunDirectories() {
    manager_.reset();
    EXPECT_THAT(*ListDirectory(paths_.runs()), IsEmpty());
  }
  std::string Add(int64_t priority = 0) { return Submit(priority)->name().substr(5); }
  // The job once it is in that state.
  Job Await(const std::string& id, engram::v1::JobState state) {
    struct Seen {
      absl::Mutex mutex;
      Job job ABSL_GUARDED_BY(mutex);
    } seen;
    const auto number = manager_->Watch(id, [&](const absl::StatusOr<Job>& job) {
      if (!job.ok()) return;
      absl::MutexLock lock(&seen.mutex);
      seen.job = *job;
    });
    EXPECT_TRUE(number.ok());
    Job job;
    {
      absl::MutexLock lock(&seen.mutex);
      const auto reached = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(seen.mutex) { return seen.job.state() == state; };
      EXPECT_TRUE(seen.mutex.AwaitWithTimeout(absl::Condition(&reached), kPatience)) << seen.job.DebugString();
      job = seen.job;
    }
    manager_->Unwatch(*number);
    return job;
  }

  FakeClock clock_;
  std::string root_;  // holds data_dir, or is it
  DataPaths paths_;
  Metrics metrics_;
  FakeLauncher launcher_;
  std::unique_ptr<jobs::Store> store_;
  std::unique_ptr<DatasetShelf> shelf_;
  std::unique_ptr<JobManager> manager_;
};

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
