#pragma once

// The life of jobs: accepts them, queues them, runs them in workers, publishes what they made, and tells watchers.
// docs/life-of-a-job.md follows one through.
//
//   Submit ─► store (durable) ─► Scheduler ─► Launcher ─► worker ─► result.binpb ─► publish: rename + one transaction
//   ─► ended
//
// One thread (Run) starts and ends runs; everything else only changes state and wakes it. Killed at any point, the next
// process finds each job where the store says: queued and paused ones as they were, running ones are paused or
// cancelled if that was asked of them, else queued again (their checkpoint makes them go on), or finished, if their
// worker had left a result. Thread-safe.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/jobs/launcher.h"
#include "core/jobs/scheduler.h"
#include "core/jobs/store.h"
#include "engram/v1/job.pb.h"
#include "engram/worker/v1/worker.pb.h"
#include "server/admin/metrics.h"
#include "server/data_paths.h"

namespace engram::server {

struct JobManagerOptions {
  std::vector<std::string> devices;
  int32_t worker_threads = 0;
  int64_t queue_limit = 1000;
  // A job fails after this many crashes of its worker without a checkpoint between them.
  int64_t max_crashes = 3;
  // How long to wait before trying again what a full disk or a busy database did not let happen.
  absl::Duration try_again = absl::Seconds(5);
};

class JobManager {
 public:
  // Called with the job after each change, and with UNAVAILABLE (DRAINING) as the last call when the manager shuts
  // down; under the manager's lock: must return at once and not call back.
  using Watcher = std::function<void(const absl::StatusOr<engram::v1::Job>&)>;

  JobManager(jobs::Store& store, const DataPaths& paths, jobs::Launcher& launcher, Metrics& metrics, const Clock& clock,
             JobManagerOptions options);
  // As ShutDown with no time at all.
  ~JobManager();

  // Takes up what the store holds, then starts running jobs. To be called once, first.
  absl::Status Start() ABSL_LOCKS_EXCLUDED(mutex_);
  // Asks all runs for a checkpoint, waits for them up to `patience`, kills the rest. Their jobs stay queued. Watchers
  // get their last call.
  void ShutDown(absl::Duration patience) ABSL_LOCKS_EXCLUDED(mutex_);

  // The job that an earlier call with this key made. ALREADY_EXISTS (REQUEST_ID_REUSED) if the id was used for another
  // request.
  absl::StatusOr<std::optional<engram::v1::Job>> FindEarlier(const jobs::RequestKey& key) ABSL_LOCKS_EXCLUDED(mutex_);
  // `description`: the job as the API shows it, without what the manager fills in. `spec`: with short names; paths are
  // filled in when the run starts. Of several calls with one key the first makes the job and all get it.
  absl::StatusOr<engram::v1::Job> Submit(jobs::JobRecord record, const engram::v1::Job& description,
                                         const engram::worker::v1::RunSpec& spec, const jobs::RequestKey& key)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<engram::v1::Job> Get(const std::string& id) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::vector<engram::v1::Job>> List(const std::string& before, int64_t limit, const std::string& model,
                                                    std::optional<jobs::JobState> state) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<engram::v1::Job> Cancel(const std::string& id) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<engram::v1::Job> Pause(const std::string& id) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<engram::v1::Job> Resume(const std::string& id) ABSL_LOCKS_EXCLUDED(mutex_);

  // Calls `watcher` with the job as it is, then after each change. The number ends it.
  absl::StatusOr<int64_t> Watch(const std::string& id, Watcher watcher) ABSL_LOCKS_EXCLUDED(mutex_);
  void Unwatch(int64_t number) ABSL_LOCKS_EXCLUDED(mutex_);

  // Unfinished jobs by state, for the metrics.
  absl::StatusOr<std::map<std::string, int64_t>> CountStates() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Running {
    std::string device;
    std::unique_ptr<jobs::RunHandle> handle;  // empty for a moment while the run starts, and while it is taken down
    engram::v1::JobProgress progress;
    std::optional<jobs::RunExit> exit;
  };
  // A job whose end the disk or the store has not taken yet.
  struct Unrecorded {
    jobs::JobState state;
    engram::worker::v1::RunOutcome outcome;
  };
  struct Subscription {
    std::string job;
    Watcher watcher;
  };

  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  bool SomethingToDo() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool AllEnded() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return running_.empty(); }
  void StartRun(const jobs::Assignment& assignment) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::unique_ptr<jobs::RunHandle>> Launch(const jobs::Assignment& assignment);
  absl::Status PrepareRun(const jobs::Assignment& assignment, const jobs::JobRecord& record);
  // `record`: of the job, as far as it could be read.
  void NotStarted(const std::string& id, const absl::StatusOr<jobs::JobRecord>& record, const absl::Status& why)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnMessage(const std::string& id, const std::string& message) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnExit(const std::string& id, jobs::RunExit exit) ABSL_LOCKS_EXCLUDED(mutex_);

  // What a run's end means for its job.
  void EndRun(const std::string& id, std::unique_ptr<jobs::RunHandle> handle) ABSL_LOCKS_EXCLUDED(mutex_);
  // Publishes and records the end; if the disk or the store does not take it, TryAgain tries until they do.
  void Conclude(const jobs::JobRecord& record, jobs::JobState reached, const engram::worker::v1::RunOutcome& outcome)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TryAgain() ABSL_LOCKS_EXCLUDED(mutex_);
  void Fail(const jobs::JobRecord& record, const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Requeue(const jobs::JobRecord& record, jobs::JobState state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void HandleCrash(const jobs::JobRecord& record, jobs::RunExit exit) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::optional<jobs::VersionRecord>> Publish(const jobs::JobRecord& record,
                                                             const engram::v1::JobResult& result);
  absl::StatusOr<std::optional<engram::worker::v1::RunOutcome>> ReadOutcome(const std::string& id) const;

  absl::StatusOr<std::optional<engram::v1::Job>> FindEarlierLocked(const jobs::RequestKey& key)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  engram::v1::Job ToJob(const jobs::JobRecord& record) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Notify(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  jobs::Store& store_;
  const DataPaths paths_;
  jobs::Launcher& launcher_;
  Metrics& metrics_;
  const Clock& clock_;
  const JobManagerOptions options_;

  mutable absl::Mutex mutex_;
  jobs::Scheduler scheduler_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Running> running_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int64_t> crashes_ ABSL_GUARDED_BY(mutex_);  // since the last checkpoint
  std::map<std::string, Unrecorded> unrecorded_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> postponed_ ABSL_GUARDED_BY(mutex_);  // jobs whose run could not be started for now
  std::map<int64_t, Subscription> subscriptions_ ABSL_GUARDED_BY(mutex_);
  int64_t next_subscription_ ABSL_GUARDED_BY(mutex_) = 1;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;  // no new runs
  bool killing_ ABSL_GUARDED_BY(mutex_) = false;   // runs that are still there have no time left
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;   // the thread is to end
  std::thread thread_;
};

}  // namespace engram::server
