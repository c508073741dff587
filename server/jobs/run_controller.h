#pragma once

// The runs that are under way: their directories, their processes, what they say. Decides nothing.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/status.h"
#include "core/jobs/launcher.h"
#include "core/jobs/store.h"
#include "engram/v1/job.pb.h"
#include "engram/worker/v1/worker.pb.h"
#include "server/data_paths.h"

namespace engram::server {

// Calls come from threads of the runs, one run's one after the other.
struct RunListener {
  std::function<void(const std::string& job, engram::v1::JobProgress progress)> on_progress;
  std::function<void(const std::string& job)> on_checkpoint;
  // The run ends because of this and can go on later.
  std::function<void(const std::string& job, absl::Status what)> on_lack;
  std::function<void(const std::string& job, jobs::RunExit exit)> on_exit;  // the last one
};

// Thread-safe. Start, Attach, Release and Detach block; they must not be called by the listener, nor under a lock that
// it takes. Stop and Kill return at once.
class RunController {
 public:
  RunController(DataPaths paths, jobs::Launcher& launcher, int32_t worker_threads, RunListener listener)
      : paths_(std::move(paths)), launcher_(launcher), threads_(worker_threads), listener_(std::move(listener)) {}

  // Writes the run directory's specification, with every path filled in.
  absl::Status Prepare(const jobs::JobRecord& job, const std::vector<std::string>& devices) const;
  // Starts what was prepared; the listener may be called before this returns.
  absl::Status Start(const std::string& job, const std::vector<std::string>& devices);
  // Follows a run that an earlier server has started; NOT_FOUND if it is not under way any more.
  absl::Status Attach(const std::string& job);
  // The devices that a run directory says its run is on.
  absl::StatusOr<std::vector<std::string>> DevicesOf(const std::string& job) const;
  // Asks for a checkpoint and an end; nothing if the job has no run here.
  void Stop(const std::string& job) ABSL_LOCKS_EXCLUDED(mutex_);
  void Kill(const std::string& job) ABSL_LOCKS_EXCLUDED(mutex_);
  // Takes down a run that has ended.
  void Release(const std::string& job) ABSL_LOCKS_EXCLUDED(mutex_);
  // Leaves all runs to themselves; the listener is not called any more.
  void DetachAll() ABSL_LOCKS_EXCLUDED(mutex_);
  bool RunsOutliveServer() const { return launcher_.RunsOutliveServer(); }

  // What the worker left as its last act; nullopt if it did not get there. DATA_LOSS if it is damaged.
  absl::StatusOr<std::optional<engram::worker::v1::RunOutcome>> ReadOutcome(const std::string& job) const;

 private:
  jobs::RunCallbacks Callbacks(const std::string& job);
  void Keep(const std::string& job, std::unique_ptr<jobs::RunHandle> handle) ABSL_LOCKS_EXCLUDED(mutex_);

  const DataPaths paths_;
  jobs::Launcher& launcher_;
  const int32_t threads_;
  const RunListener listener_;
  absl::Mutex mutex_;
  std::map<std::string, std::unique_ptr<jobs::RunHandle>> handles_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::server
