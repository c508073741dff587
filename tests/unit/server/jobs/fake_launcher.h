#pragma once

// Workers that do what a test says, and the launcher that starts them.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/files.h"
#include "core/checkpoint/manifest.h"
#include "core/checkpoint/version_directory.h"
#include "core/jobs/launcher.h"
#include "engram/worker/v1/worker.pb.h"
#include "gtest/gtest.h"

namespace engram::server {

inline constexpr absl::Duration kPatience =
    absl::Seconds(20);  // for other threads; nothing waits this long unless it fails

// A worker that does what the test says.
class FakeRun {
 public:
  FakeRun(std::string directory, jobs::RunCallbacks callbacks) : directory_(std::move(directory)) {
    Follow(std::move(callbacks));
    EXPECT_TRUE(spec_.ParseFromString(*ReadFile(directory_ + "/spec.binpb")));
  }
  void Follow(jobs::RunCallbacks callbacks) {
    absl::MutexLock lock(&mutex_);
    left_ = false;
    callbacks_ = std::move(callbacks);
    thread_ = std::thread([this] { Await(); });
  }
  // Ends the callbacks; it goes on.
  void Leave() {
    {
      absl::MutexLock lock(&mutex_);
      left_ = true;
    }
    thread_.join();
  }
  // Once Exit was called: waits until on_exit has returned.
  void Join() { thread_.join(); }

  const std::string& directory() const { return directory_; }
  const engram::worker::v1::RunSpec& spec() const { return spec_; }
  void Exit(int code, int signal = 0) {
    absl::MutexLock lock(&mutex_);
    if (!exit_) exit_ = jobs::RunExit{code, signal};
  }
  void Checkpoint() {
    engram::worker::v1::RunEvent event;
    event.set_checkpoint_step(1);
    Say(event);
  }
  void Progress(int64_t step) {
    engram::worker::v1::RunEvent event;
    event.mutable_progress()->set_step(step);
    Say(event);
  }
  // Ends because of what is lacking, and can go on later.
  void Lack(absl::StatusCode code, const std::string& reason) {
    engram::worker::v1::RunEvent event;
    event.mutable_lack()->set_code(static_cast<int>(code));
    event.mutable_lack()->set_reason(reason);
    Say(event);
    Exit(jobs::kExitResumable);
  }
  void Fail(const std::string& reason) {
    engram::worker::v1::RunOutcome outcome;
    outcome.mutable_error()->set_reason(reason);
    EXPECT_TRUE(WriteFileAtomic(directory_ + "/result.binpb", outcome.SerializeAsString()).ok());
    Exit(0);
  }
  // Leaves the version and the result that a training leaves.
  void Succeed() {
    const std::string output = directory_ + "/output";
    EXPECT_TRUE(MakeDirectories(output).ok());
    for (const char* file : {"/config.json", "/model.safetensors"})
      EXPECT_TRUE(WriteFileAtomic(output + file, "x").ok());
    checkpoint::VersionManifest manifest;
    manifest.model = spec().model();
    manifest.version = spec().version();
    manifest.created = "2026-01-02T03:04:05Z";
    EXPECT_EQ(checkpoint::WriteManifest(output, manifest), absl::OkStatus());
    engram::worker::v1::RunOutcome outcome;
    outcome.mutable_result()->set_steps(7);
    EXPECT_TRUE(WriteFileAtomic(directory_ + "/result.binpb", outcome.SerializeAsString()).ok());
    Exit(0);
  }
  // Leaves the files of a data set and the result that a collection leaves.
  void SucceedWithPages(const std::string& rows, int64_t pages) {
    const std::string output = directory_ + "/output";
    EXPECT_TRUE(MakeDirectories(output).ok());
    EXPECT_TRUE(WriteFileAtomic(output + "/train.jsonl", rows).ok());
    EXPECT_TRUE(WriteFileAtomic(output + "/pages.jsonl", "pages of " + std::to_string(pages) + "\n").ok());
    engram::worker::v1::RunOutcome outcome;
    outcome.mutable_result()->mutable_collected()->set_pages(pages);
    EXPECT_TRUE(WriteFileAtomic(directory_ + "/result.binpb", outcome.SerializeAsString()).ok());
    Exit(0);
  }
  void AwaitStop() {
    absl::MutexLock lock(&mutex_);
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&stopped_), kPatience));
  }
  void Stop() {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
  }
  // As a process that the system is slow to take down: killed, it is there until it is let go.
  void Linger() {
    absl::MutexLock lock(&mutex_);
    lingers_ = true;
  }
  void LetGo() {
    absl::MutexLock lock(&mutex_);
    lingers_ = false;
  }

 private:
  bool Exited() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return (exit_.has_value() && !lingers_) || left_; }
  void Await() {
    jobs::RunExit exit;
    std::function<void(jobs::RunExit)> on_exit;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &FakeRun::Exited));
      if (left_) return;
      exit = *exit_;
      on_exit = callbacks_.on_exit;
    }
    on_exit(exit);
  }
  void Say(const engram::worker::v1::RunEvent& event) {
    std::function<void(std::string)> on_message;
    {
      absl::MutexLock lock(&mutex_);
      on_message = callbacks_.on_message;
    }
    on_message(event.SerializeAsString());
  }

  const std::string directory_;
  engram::worker::v1::RunSpec spec_;
  absl::Mutex mutex_;
  jobs::RunCallbacks callbacks_ ABSL_GUARDED_BY(mutex_);
  bool left_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  bool lingers_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<jobs::RunExit> exit_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

class FakeLauncher final : public jobs::Launcher {
 public:
  absl::StatusOr<std::unique_ptr<jobs::RunHandle>> Launch(const jobs::RunRequest& request,
                                                          jobs::RunCallbacks callbacks) override {
    absl::MutexLock lock(&mutex_);
    if (refusals_ > 0) {
      --refusals_;
      return absl::ResourceExhaustedError("too many processes");
    }
    EXPECT_EQ(request.resources.device, "cpu");
    auto run = std::make_shared<FakeRun>(request.directory, std::move(callbacks));
    runs_.push_back(run);
    return std::make_unique<Handle>(*this, request.id, std::move(run));
  }
  absl::StatusOr<std::unique_ptr<jobs::RunHandle>> Attach(const std::string& id,
                                                          jobs::RunCallbacks callbacks) override {
    absl::MutexLock lock(&mutex_);
    auto found = detached_.extract(id);
    if (found.empty()) return absl::NotFoundError("no such run");
    found.mapped()->Follow(std::move(callbacks));
    return std::make_unique<Handle>(*this, id, std::move(found.mapped()));
  }
  bool RunsOutliveServer() const override { return outlive_; }
  // To be called before anything runs: runs go on without a server.
  void Outlive() { outlive_ = true; }
  // The n-th run, from 0, once it was started.
  std::shared_ptr<FakeRun> Run(size_t n) {
    absl::MutexLock lock(&mutex_);
    const auto there = [this, n]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return runs_.size() > n; };
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&there), kPatience)) << "run " << n << " was not started";
    return runs_.at(n);
  }
  // Starts none of the next `count` runs, for a reason that passes.
  void Refuse(int count) {
    absl::MutexLock lock(&mutex_);
    refusals_ = count;
  }
  size_t count() const {
    absl::MutexLock lock(&mutex_);
    return runs_.size();
  }

 private:
  class Handle final : public jobs::RunHandle {
   public:
    Handle(FakeLauncher& launcher, std::string id, std::shared_ptr<FakeRun> run)
        : launcher_(launcher), id_(std::move(id)), run_(std::move(run)) {}
    ~Handle() override {
      if (run_ == nullptr) return;
      Kill();
      run_->Join();
    }
    void Stop() override { run_->Stop(); }
    void Kill() override { run_->Exit(-1, 9); }
    void Detach() override {
      run_->Leave();
      absl::MutexLock lock(&launcher_.mutex_);
      launcher_.detached_[id_] = std::move(run_);
    }

   private:
    FakeLauncher& launcher_;
    const std::string id_;
    std::shared_ptr<FakeRun> run_;
  };

  mutable absl::Mutex mutex_;
  std::vector<std::shared_ptr<FakeRun>> runs_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::shared_ptr<FakeRun>> detached_ ABSL_GUARDED_BY(mutex_);
  int refusals_ ABSL_GUARDED_BY(mutex_) = 0;
  bool outlive_ = false;
};

}  // namespace engram::server
