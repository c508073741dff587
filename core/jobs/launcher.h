#pragma once

// Starts runs and follows them. A run is a process of its own, here or elsewhere: what goes wrong in it costs that run
// alone. Local processes today; a Kubernetes Job can be the second Launcher.

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/status.h"
#include "core/jobs/scheduler.h"

namespace engram::jobs {

struct RunExit {
  int code = -1;   // exit status, or -1 if a signal ended it
  int signal = 0;  // 0 if it exited by itself
};

// Exit status of a worker that was asked to stop, has written a checkpoint and can go on from there, or that lacked
// something for now, which its last message names (sysexits.h: EX_TEMPFAIL).
inline constexpr int kExitResumable = 75;

struct RunRequest {
  std::string id;         // of the run: unique among those that are under way
  std::string directory;  // holds the specification, and takes what the run makes
  Resources resources;    // what it was given; `device`: the first of its devices
};

// Calls come one after the other and hold a lock of the run.
struct RunCallbacks {
  // One message of the worker (see worker.proto).
  std::function<void(std::string)> on_message;
  // The last call, once.
  std::function<void(RunExit)> on_exit;
};

// A run that is followed. Thread-safe. Destroying the handle ends the callbacks, waiting for one that is under way; so
// neither that nor Detach may be done from a callback, or under a lock that callbacks take. Whether the run itself goes
// on then is for the launcher to say. The launcher outlives it.
class RunHandle {
 public:
  virtual ~RunHandle() = default;
  // Asks for a checkpoint and an exit with kExitResumable.
  virtual void Stop() = 0;
  // Ends it at once.
  virtual void Kill() = 0;
  // Follows it no longer and leaves it running: no callback comes after this, and Launcher::Attach can take it up. The
  // handle is of no use then.
  virtual void Detach() = 0;
};

class Launcher {
 public:
  virtual ~Launcher() = default;
  // UNAVAILABLE (WORKER_NOT_STARTED) if no run can be started for now.
  virtual absl::StatusOr<std::unique_ptr<RunHandle>> Launch(const RunRequest& request, RunCallbacks callbacks) = 0;
  // Follows a run that was launched before, by this process or an earlier one. What it said while nobody followed it
  // comes first, its exit too, if it has ended: before Attach returns. NOT_FOUND if the launcher knows of no such run;
  // then it is not running either.
  virtual absl::StatusOr<std::unique_ptr<RunHandle>> Attach(const std::string& id, RunCallbacks callbacks) = 0;
  // Whether runs go on while no server is there, so that one that stops need only detach.
  virtual bool RunsOutliveServer() const = 0;
};

class LocalProcess;

// Runs `program --run-directory DIR`, with two descriptors for the two ends to know of each other:
//   3  the worker's messages (DescriptorEvents);
//   0  never written: at its end of file the server is gone, and the worker must end, so that no orphan computes on.
// Standard output and error go to DIR/worker.log. Stop is SIGTERM, Kill is SIGKILL. No run outlives the server, so none
// is to outlive its handle either, unless it was detached: destroying a handle kills the run and waits for on_exit to
// have returned. Attach finds what this object has launched. A detached run's last kMaxKept messages are kept for it.
class LocalLauncher final : public Launcher {
 public:
  static constexpr size_t kMaxKept = 1024;

  explicit LocalLauncher(std::string program);
  // Kills the runs that are detached.
  ~LocalLauncher() override;
  absl::StatusOr<std::unique_ptr<RunHandle>> Launch(const RunRequest& request, RunCallbacks callbacks) override;
  absl::StatusOr<std::unique_ptr<RunHandle>> Attach(const std::string& id, RunCallbacks callbacks) override;
  bool RunsOutliveServer() const override { return false; }

 private:
  friend class LocalRun;
  void Keep(const std::string& id, std::unique_ptr<LocalProcess> process) ABSL_LOCKS_EXCLUDED(mutex_);

  const std::string program_;
  absl::Mutex mutex_;
  std::map<std::string, std::unique_ptr<LocalProcess>> detached_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::jobs
