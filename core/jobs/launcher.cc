#include "core/jobs/launcher.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/cleanup/cleanup.h"
#include "absl/synchronization/mutex.h"
#include "core/base/log.h"

extern char** environ;

namespace engram::jobs {
namespace {

constexpr uint32_t kMaxMessage = 1U << 24;

// Reads exactly `size` bytes; false at the end of the file or after an error.
bool ReadAll(int descriptor, char* out, size_t size) {
  while (size > 0) {
    const ssize_t got = read(descriptor, out, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    out += got;
    size -= static_cast<size_t>(got);
  }
  return true;
}

void ReadMessages(int descriptor, const std::function<void(std::string)>& on_message) {
  std::array<unsigned char, 4> head{};
  while (ReadAll(descriptor, reinterpret_cast<char*>(head.data()), head.size())) {
    const uint32_t size = static_cast<uint32_t>(head[0]) | static_cast<uint32_t>(head[1]) << 8 |
                          static_cast<uint32_t>(head[2]) << 16 | static_cast<uint32_t>(head[3]) << 24;
    if (size > kMaxMessage) {
      LogError("a worker sent a message that is too long; its messages are no longer read");
      return;
    }
    std::string message(size, '\0');
    if (!ReadAll(descriptor, message.data(), size)) return;
    on_message(std::move(message));
  }
}

class LocalRun final : public RunHandle {
 public:
  LocalRun(pid_t pid, int messages, int lifeline, RunCallbacks callbacks)
      : pid_(pid),
        messages_(messages),
        lifeline_(lifeline),
        thread_([this, calls = std::move(callbacks)] { Follow(calls); }) {}

  ~LocalRun() override {
    Kill();
    thread_.join();
    close(lifeline_);
  }
  void Stop() override { Signal(SIGTERM); }
  void Kill() override { Signal(SIGKILL); }

 private:
  void Signal(int number) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    // Once it has been waited for, the number may belong to another process.
    if (!reaped_) kill(pid_, number);
  }

  void Follow(const RunCallbacks& callbacks) {
    ReadMessages(messages_, callbacks.on_message);
    close(messages_);
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
    callbacks.on_exit(exit);
  }

  const pid_t pid_;
  const int messages_, lifeline_;
  absl::Mutex mutex_;
  bool reaped_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

absl::Status NoProcess(int error) {
  LogError("no worker could be started", {{"error", strerror(error)}});
  // Too many processes, files or too little memory pass; a program that is not there does not.
  const bool passes = error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE;
  return StatusWithReason(passes ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kInternal,
                          "WORKER_NOT_STARTED", "no worker process could be started");
}

}  // namespace

absl::StatusOr<std::unique_ptr<RunHandle>> LocalLauncher::Launch(const std::string& run_directory,
                                                                 RunCallbacks callbacks) {
  std::array<int, 2> messages{}, lifeline{};
  if (pipe2(messages.data(), O_CLOEXEC) != 0) return NoProcess(errno);
  absl::Cleanup close_messages = [&] {
    close(messages[0]);
    close(messages[1]);
  };
  if (pipe2(lifeline.data(), O_CLOEXEC) != 0) return NoProcess(errno);
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
  const std::string log = run_directory + "/worker.log";
  posix_spawn_file_actions_adddup2(&actions, lifeline[0], 0);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  posix_spawn_file_actions_adddup2(&actions, messages[1], 3);
  // The server blocks signals in its threads and handles them in one; a worker starts with none blocked. A process
  // group of its own keeps a Ctrl-C at the server's terminal from reaching it before the server has asked for its
  // checkpoint.
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);

  std::string program = program_, flag = "--run-directory", directory = run_directory;
  std::array<char*, 4> arguments{program.data(), flag.data(), directory.data(), nullptr};
  pid_t pid = 0;
  const int error = posix_spawn(&pid, program_.c_str(), &actions, &attributes, arguments.data(), environ);
  if (error != 0) return NoProcess(error);
  std::move(close_messages).Cancel();
  std::move(close_lifeline).Cancel();
  close(messages[1]);
  close(lifeline[0]);
  return std::make_unique<LocalRun>(pid, messages[0], lifeline[1], std::move(callbacks));
}

}  // namespace engram::jobs
