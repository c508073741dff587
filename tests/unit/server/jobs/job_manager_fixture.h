#pragma once

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/jobs/job_manager.h"
#include "server/library/dataset_shelf.h"
#include "tests/unit/server/jobs/fake_launcher.h"

namespace engram::server {

// A job manager over a store, a directory and a launcher that starts no process; model "news" with one version.
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
    JobManagerOptions options{{"cpu"}, 0, 1000, /*max_crashes=*/3, absl::Milliseconds(10)};
    options.published = [this](const std::string& model, int64_t number) {
      if (published_) published_(model, number);
    };
    manager_ = std::make_unique<JobManager>(*store_, paths_, launcher_, *shelf_, metrics_, Clock::Steady(), clock_,
                                            std::move(options));
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
  using Job = engram::v1::Job;
  using RunSpec = engram::worker::v1::RunSpec;

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
    EXPECT_THAT(*ListDirectory(paths_.runs()), ::testing::IsEmpty());
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
  std::function<void(const std::string& model, int64_t number)> published_;  // set before the job is added
  std::unique_ptr<jobs::Store> store_;
  std::unique_ptr<DatasetShelf> shelf_;
  std::unique_ptr<JobManager> manager_;
};

}  // namespace engram::server
