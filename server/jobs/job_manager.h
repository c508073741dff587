#pragma once

// The life of jobs: accepts them, queues them, runs them in workers, publishes what they made, and tells watchers.
// docs/life-of-a-job.md follows one through.
//
//   Submit ─► store (durable) ─► queue ─► run ─► result.binpb ─► publish: rename, then one transaction ─► ended
//
// This class only joins its parts: JobTable decides, the store remembers, RunController runs, Publisher does the files.
// One thread (Run) does the work that the table gives out; calls change what is stored and then the table, and wake it.
// Killed at any point, the next process finds each job where the store says: queued and paused ones as they were,
// running ones are paused or cancelled if that was asked of them, else queued again (their checkpoint makes them go
// on), or finished, if their worker had left a result. Thread-safe.

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/jobs/launcher.h"
#include "core/jobs/store.h"
#include "engram/v1/job.pb.h"
#include "engram/worker/v1/worker.pb.h"
#include "server/admin/metrics.h"
#include "server/data_paths.h"
#include "server/jobs/job_table.h"
#include "server/jobs/publisher.h"
#include "server/jobs/run_controller.h"

namespace engram::server {

struct JobManagerOptions {
  std::vector<std::string> devices;
  int32_t worker_threads = 0;
  int64_t queue_limit = 1000;
  int64_t max_crashes = 3;                            // JobTableOptions
  absl::Duration try_again = absl::Seconds(5);        // JobTableOptions
  absl::Duration silence = absl::InfiniteDuration();  // JobTableOptions
  // How long the checkpoint of a failed job is kept, so that it can be resumed; it is removed at the first end of a job,
  // or start, after that.
  absl::Duration keep_failed = absl::Hours(24 * 7);
  // Told of each version that a job made, once it can be asked for; may be empty. Must return at once.
  std::function<void(const std::string& model, int64_t number)> published = {};
};

class JobManager {
 public:
  // Called with the job after each change, and with UNAVAILABLE (DRAINING) as the last call when the manager shuts
  // down; under the lock of the table: must return at once and not call back.
  using Watcher = std::function<void(const absl::StatusOr<engram::v1::Job>&)>;

  // `steady`: for waits; `wall`: for what is kept until a date.
  JobManager(jobs::Store& store, const DataPaths& paths, jobs::Launcher& launcher, DatasetShelf& shelf,
             Metrics& metrics, const Clock& steady, const Clock& wall, JobManagerOptions options);
  // As ShutDown with no time at all.
  ~JobManager();

  // Takes up what the store holds, then starts running jobs. To be called once, first.
  absl::Status Start() ABSL_LOCKS_EXCLUDED(changing_, mutex_);
  // Asks all runs for a checkpoint, waits for them up to `patience`, kills the rest. Their jobs stay queued. Where runs
  // outlive the server they are left running instead, and the next Start takes them up. Watchers get their last call.
  void ShutDown(absl::Duration patience) ABSL_LOCKS_EXCLUDED(changing_, mutex_);

  // The job that an earlier call with this key made. ALREADY_EXISTS (REQUEST_ID_REUSED) if the id was used for another
  // request.
  absl::StatusOr<std::optional<engram::v1::Job>> FindEarlier(const jobs::RequestKey& key) ABSL_LOCKS_EXCLUDED(mutex_);
  // `description`: the job as the API shows it, without what the manager fills in. `spec`: with short names; paths are
  // filled in when the run starts. Of several calls with one key the first makes the job and all get it.
  absl::StatusOr<engram::v1::Job> Submit(jobs::JobRecord record, const engram::v1::Job& description,
                                         const engram::worker::v1::RunSpec& spec, const jobs::RequestKey& key)
      ABSL_LOCKS_EXCLUDED(changing_, mutex_);
  absl::StatusOr<engram::v1::Job> Get(const std::string& id) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::vector<engram::v1::Job>> List(const std::string& before, int64_t limit, const std::string& model,
                                                    std::optional<jobs::JobState> state)
      ABSL_LOCKS_EXCLUDED(changing_, mutex_);
  absl::StatusOr<engram::v1::Job> Cancel(const std::string& id) ABSL_LOCKS_EXCLUDED(changing_, mutex_);
  absl::StatusOr<engram::v1::Job> Pause(const std::string& id) ABSL_LOCKS_EXCLUDED(changing_, mutex_);
  absl::StatusOr<engram::v1::Job> Resume(const std::string& id) ABSL_LOCKS_EXCLUDED(changing_, mutex_);

  // Calls `watcher` with the job as it is, then after each change. The number ends it.
  absl::StatusOr<int64_t> Watch(const std::string& id, Watcher watcher) ABSL_LOCKS_EXCLUDED(changing_, mutex_);
  void Unwatch(int64_t number) ABSL_LOCKS_EXCLUDED(changing_, mutex_);

  // Jobs that wait because something is lacking, and what.
  std::map<std::string, Delay> Delayed() const ABSL_LOCKS_EXCLUDED(mutex_);
  // For how long the thread that starts and ends jobs has been at one piece of work; zero while it has none.
  absl::Duration working() const;
  // Unfinished jobs by state, for the metrics.
  absl::StatusOr<std::map<std::string, int64_t>> CountStates() ABSL_LOCKS_EXCLUDED(changing_, mutex_);

 private:
  struct Subscription {
    std::string job;
    Watcher watcher;
  };

  // The calls of runs; from their threads.
  RunListener Listener();

  void Run() ABSL_LOCKS_EXCLUDED(changing_, mutex_);
  bool ThreadWakes() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopped_ || table_.HasWork() || table_.NextTry() < sleeps_until_;
  }
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !table_.Busy(); }
  // Takes the next piece of work and does it; false if there is none.
  bool DoNext(bool may_start) ABSL_LOCKS_EXCLUDED(changing_, mutex_);
  absl::Status BeginRun(const JobTable::Work& work) ABSL_LOCKS_EXCLUDED(changing_, mutex_);
  void StartRun(const JobTable::Work& work) ABSL_LOCKS_EXCLUDED(changing_, mutex_);
  void TakeDown(const std::string& id) ABSL_LOCKS_EXCLUDED(changing_, mutex_);
  void Conclude(const JobTable::Work& work) ABSL_LOCKS_EXCLUDED(changing_, mutex_);
  // Stores the end of a job.
  void Record(const std::string& id, jobs::JobState state, const engram::worker::v1::RunOutcome& outcome,
              const std::optional<jobs::VersionRecord>& version) ABSL_EXCLUSIVE_LOCKS_REQUIRED(changing_)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Requeue(const std::string& id, jobs::JobState state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(changing_)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove(const std::string& id) ABSL_LOCKS_EXCLUDED(changing_, mutex_);
  void Interrupt(const JobTable::Work& work) ABSL_LOCKS_EXCLUDED(mutex_);
  // Removes the run directories of jobs that have ended and are not to be resumed.
  void Sweep() ABSL_LOCKS_EXCLUDED(changing_, mutex_);
  // Until when a failed job's checkpoint is kept; nullopt if it cannot be resumed (any more).
  std::optional<absl::Time> ResumableUntil(const jobs::JobRecord& record) const;
  absl::StatusOr<engram::v1::Job> ResumeFailed(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(changing_)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Takes up one job that the store still holds.
  void TakeUp(const jobs::JobRecord& record) ABSL_LOCKS_EXCLUDED(mutex_);
  // Stores a change and makes it so; the job as it is then.
  absl::StatusOr<engram::v1::Job> Change(const JobChange& change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(changing_)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // A copy of the table's record; nullopt if it has ended, or never was.
  std::optional<jobs::JobRecord> Find(const std::string& id) const ABSL_LOCKS_EXCLUDED(mutex_);
  void Send(const std::string& id, RunSignal signal);
  // Reads the job anew, into the table, and tells its watchers.
  void RefreshAndNotify(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(changing_) ABSL_LOCKS_EXCLUDED(mutex_);
  // JOB_ENDED or JOB_NOT_FOUND if it is no more.
  absl::Status CheckUnfinished(const std::string& id) ABSL_LOCKS_EXCLUDED(mutex_);
  // The job as the API shows it, with progress and place in the queue.
  engram::v1::Job Describe(const jobs::JobRecord& record) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Notify(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  jobs::Store& store_;
  const DataPaths paths_;
  Metrics& metrics_;
  const Clock& clock_;  // steady
  const Clock& wall_;
  const JobManagerOptions options_;
  const Publisher publisher_;
  RunController runs_;

  // Held while a change is planned, stored and applied: changes come one after the other, and each is decided on what
  // is stored. Held over transactions, never over files; mutex_, below it, is held over neither.
  absl::Mutex changing_ ABSL_ACQUIRED_BEFORE(mutex_);
  mutable absl::Mutex mutex_;
  JobTable table_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, Subscription> subscriptions_ ABSL_GUARDED_BY(mutex_);
  int64_t next_subscription_ ABSL_GUARDED_BY(mutex_) = 1;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;  // no new jobs, no new runs
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;   // the thread is to end
  // Of the thread: a next try that is put before it, by a call that failed to record an end, wakes it to wait anew.
  absl::Time sleeps_until_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  std::atomic<int64_t> working_since_{0};  // nanoseconds of clock_; 0: it has nothing to do
  std::thread thread_;
};

}  // namespace engram::server
