#include "core/jobs/launcher.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <deque>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "core/base/descriptors.h"
#include "core/base/log.h"
#include "core/jobs/event_source.h"

extern char** environ;

namespace engram::jobs {
namespace {

absl::Status NoProcess(int error) {
  LogError("no worker could be started", {{"error", strerror(error)}});
  // Too many processes, files or too little memory pass; a program that is not there may be put back.
  return StatusWithReason(absl::StatusCode::kUnavailable, "WORKER_NOT_STARTED",
                          absl::StrCat("no worker process could be started: ", std::generic_category().message(error)));
}

}  // namespace

// A worker process and the thread that follows it. Thread-safe. Destroying it kills the process and waits for its end.
class LocalProcess {
 public:
  LocalProcess(pid_t pid, int messages, int lifeline, RunCallbacks callbacks)
      : pid_(pid),
        lifeline_(lifeline),
        callbacks_(std::move(callbacks)),
        thread_([this, messages] { Follow(DescriptorEvents(messages)); }) {}

  ~LocalProcess() {
    Signal(SIGKILL);
    thread_.join();
    close(lifeline_);
  }

  void Signal(int number) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    // Once it has been waited for, the number may belong to another process.
    if (!reaped_) kill(pid_, number);
  }
  // From now on what happens is kept.
  void Detach() ABSL_LOCKS_EXCLUDED(delivery_) {
    absl::MutexLock lock(&delivery_);
    callbacks_.reset();
  }
  void Attach(RunCallbacks callbacks) ABSL_LOCKS_EXCLUDED(delivery_) {
    absl::MutexLock lock(&delivery_);
    callbacks_ = std::move(callbacks);
    for (std::string& message : std::exchange(kept_, {})) callbacks_->on_message(std::move(message));
    if (exit_) callbacks_->on_exit(*exit_);
  }

 private:
  void Follow(DescriptorEvents events) {
    while (std::optional<std::string> message = events.Next()) Deliver(*std::move(message));
    siginfo_t info{};
    while (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
    }
    int status = 0;
    {
      absl::MutexLock lock(&mutex_);
      while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
      }
      reaped_ = true;
    }
    RunExit exit;
    if (WIFEXITED(status)) exit.code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) exit.signal = WTERMSIG(status);
    absl::MutexLock lock(&delivery_);
    exit_ = exit;
    if (callbacks_) callbacks_->on_exit(exit);
  }
  void Deliver(std::string message) ABSL_LOCKS_EXCLUDED(delivery_) {
    absl::MutexLock lock(&delivery_);
    if (callbacks_) {
      callbacks_->on_message(std::move(message));
      return;
    }
    kept_.push_back(std::move(message));
    if (kept_.size() > LocalLauncher::kMaxKept) kept_.pop_front();
  }

  const pid_t pid_;
  const int lifeline_;
  absl::Mutex mutex_;
  bool reaped_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Mutex delivery_;
  std::optional<RunCallbacks> callbacks_ ABSL_GUARDED_BY(delivery_);  // none: detached
  std::deque<std::string> kept_ ABSL_GUARDED_BY(delivery_);
  std::optional<RunExit> exit_ ABSL_GUARDED_BY(delivery_);
  std::thread thread_;
};

class LocalRun final : public RunHandle {
 public:
  LocalRun(LocalLauncher& launcher, std::string id, std::unique_ptr<LocalProcess> process)
      : launcher_(launcher), id_(std::move(id)), process_(std::move(process)) {}
  void Stop() override { Signal(SIGTERM); }
  void Kill() override { Signal(SIGKILL); }
  void Detach() override ABSL_LOCKS_EXCLUDED(mutex_) {
    std::unique_ptr<LocalProcess> process;
    {
      absl::MutexLock lock(&mutex_);
      process = std::move(process_);
    }
    if (process == nullptr) return;
    process->Detach();
    launcher_.Keep(id_, std::move(process));
  }

 private:
  void Signal(int number) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (process_ != nullptr) process_->Signal(number);
  }

  LocalLauncher& launcher_;
  const std::string id_;
  absl::Mutex mutex_;
  std::unique_ptr<LocalProcess> process_ ABSL_GUARDED_BY(mutex_);
};

LocalLauncher::LocalLauncher(std::string program) : program_(std::move(program)) {}

LocalLauncher::~LocalLauncher() = default;

void LocalLauncher::Keep(const std::string& id, std::unique_ptr<LocalProcess> process) {
  absl::MutexLock lock(&mutex_);
  detached_[id] = std::move(process);
}

absl::StatusOr<std::unique_ptr<RunHandle>> LocalLauncher::Attach(const std::string& id, RunCallbacks callbacks) {
  std::unique_ptr<LocalProcess> process;
  {
    absl::MutexLock lock(&mutex_);
    auto found = detached_.extract(id);
    if (found.empty()) return absl::NotFoundError("no such run was left running");
    process = std::move(found.mapped());
  }
  process->Attach(std::move(callbacks));
  return std::make_unique<LocalRun>(*this, id, std::move(process));
}

absl::StatusOr<std::unique_ptr<RunHandle>> LocalLauncher::Launch(const RunRequest& request, RunCallbacks callbacks) {
  std::array<int, 2> messages{}, lifeline{};
  if (OpenWithReserve([&] { return pipe2(messages.data(), O_CLOEXEC); }) != 0) return NoProcess(errno);
  absl::Cleanup close_messages = [&] {
    close(messages[0]);
    close(messages[1]);
  };
  if (OpenWithReserve([&] { return pipe2(lifeline.data(), O_CLOEXEC); }) != 0) return NoProcess(errno);
  absl::Cleanup close_lifeline = [&] {
    close(lifeline[0]);
    close(lifeline[1]);
  };

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  absl::Cleanup destroy = [&] {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  };
  const std::string log = request.directory + "/worker.log";
  posix_spawn_file_actions_adddup2(&actions, lifeline[0], 0);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  posix_spawn_file_actions_adddup2(&actions, messages[1], 3);
  // Sockets of clients and files of imports that a library opened without O_CLOEXEC stay the server's.
  posix_spawn_file_actions_addclosefrom_np(&actions, 4);
  // The server blocks signals in its threads and handles them in one; a worker starts with none blocked. A process
  // group of its own keeps a Ctrl-C at the server's terminal from reaching it before the server has asked for its
  // checkpoint.
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);

  std::string program = program_, flag = "--run-directory", directory = request.directory;
  std::array<char*, 4> arguments{program.data(), flag.data(), directory.data(), nullptr};
  pid_t pid = 0;
  const int error = posix_spawn(&pid, program_.c_str(), &actions, &attributes, arguments.data(), environ);
  if (error != 0) return NoProcess(error);
  std::move(close_messages).Cancel();
  std::move(close_lifeline).Cancel();
  close(messages[1]);
  close(lifeline[0]);
  return std::make_unique<LocalRun>(
      *this, request.id, std::make_unique<LocalProcess>(pid, messages[0], lifeline[1], std::move(callbacks)));
}

}  // namespace engram::jobs
