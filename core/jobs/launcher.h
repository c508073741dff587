#pragma once

// Starts runs. A run is a process of its own: what goes wrong in it costs that run alone. Local processes today; a
// Kubernetes Job can be the second Launcher.

#include <functional>
#include <memory>
#include <string>

#include "core/base/status.h"

namespace engram::jobs {

struct RunExit {
  int code = -1;   // exit status, or -1 if a signal ended it
  int signal = 0;  // 0 if it exited by itself
};

// Exit status of a worker that was asked to stop, has written a checkpoint and can go on from there (sysexits.h:
// EX_TEMPFAIL).
inline constexpr int kExitResumable = 75;

struct RunCallbacks {
  // One message of the worker (see worker.proto). Calls come one after the other, from a thread of the run.
  std::function<void(std::string)> on_message;
  // The last call, once.
  std::function<void(RunExit)> on_exit;
};

// A run that was started. Thread-safe. The destructor kills it and waits for on_exit to have returned; it must not be
// called from a callback.
class RunHandle {
 public:
  virtual ~RunHandle() = default;
  // Asks for a checkpoint and an exit with kExitResumable (SIGTERM).
  virtual void Stop() = 0;
  // Ends it at once (SIGKILL).
  virtual void Kill() = 0;
};

class Launcher {
 public:
  virtual ~Launcher() = default;
  // `run_directory` holds the specification. UNAVAILABLE if no process can be started.
  virtual absl::StatusOr<std::unique_ptr<RunHandle>> Launch(const std::string& run_directory,
                                                            RunCallbacks callbacks) = 0;
};

// Runs `program --run-directory DIR` with three pipes' worth of promises:
//   descriptor 3  the worker's messages, 4 bytes little-endian length and content each, at most 16 MiB;
//   descriptor 0  never written: at its end of file the server is gone and the worker must end, so that no orphan
//   computes on.
// Standard output and error go to DIR/worker.log.
class LocalLauncher final : public Launcher {
 public:
  explicit LocalLauncher(std::string program) : program_(std::move(program)) {}
  absl::StatusOr<std::unique_ptr<RunHandle>> Launch(const std::string& run_directory, RunCallbacks callbacks) override;

 private:
  std::string program_;
};

}  // namespace engram::jobs
