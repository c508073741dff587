// engram-worker: one run of one job, in a process of its own. Started by engramd, not by hand.
//
// It ends with 0 once result.binpb is written (also when the run failed: the result says so), with 75 if it can go on
// later, because it was asked to stop or because disk, memory or the like is lacking (its last event says what), and with
// anything else only if it crashed. If the server dies, so does it: descriptor 0
// reaches its end.

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "ATen/Parallel.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/base/lack.h"
#include "core/base/log.h"
#include "core/base/process.h"
#include "core/jobs/launcher.h"
#include "core/nn/device.h"
#include "core/nn/tensor_memory.h"
#include "server/rpc/api_error.h"
#include "server/worker/event_pipe.h"
#include "server/worker/run.h"

namespace engram::worker {
namespace {

constexpr int kEventDescriptor = 3;

std::atomic<train::StopRequest> stop_request{train::StopRequest::kNone};
static_assert(std::atomic<train::StopRequest>::is_always_lock_free, "it is set by a signal handler");

void OnTerminate(int /*signal*/) { stop_request.store(train::StopRequest::kCheckpoint, std::memory_order_relaxed); }

// Ends the process when the server is gone: nobody would ever read the result.
void FollowLifeline() {
  std::thread([] {
    char byte = 0;
    while (true) {
      const ssize_t got = read(STDIN_FILENO, &byte, 1);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) _exit(EXIT_FAILURE);
    }
  }).detach();
}

// The kinds of jobs (server/jobs/kinds), from this side.
struct KindOfRun {
  engram::worker::v1::RunSpec::WorkCase work;
  RunResult (*run)(RunContext&);
};
constexpr KindOfRun kKindsOfRuns[] = {
    {engram::worker::v1::RunSpec::kTrain, RunTraining},
    {engram::worker::v1::RunSpec::kConsolidate, RunConsolidation},
    {engram::worker::v1::RunSpec::kEvaluate, RunEvaluation},
    {engram::worker::v1::RunSpec::kCrossValidate, RunCrossValidation},
    {engram::worker::v1::RunSpec::kCollect, RunCollection},
};

RunResult Dispatch(RunContext& context) {
  return nn::GuardTorch([&]() -> RunResult {
    for (const KindOfRun& kind : kKindsOfRuns) {
      if (kind.work == context.spec.work_case()) return kind.run(context);
    }
    return absl::InternalError("the run's specification is empty, or of a kind that this worker does not know");
  });
}

absl::Status WriteOutcome(const RunContext& context, const engram::worker::v1::RunOutcome& outcome) {
  return WriteFileAtomic(absl::StrCat(context.directory, "/result.binpb"), outcome.SerializeAsString());
}

// What an earlier run of this job left half done goes; its checkpoint stays.
absl::Status PrepareOutput(const RunContext& context) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> left, ListDirectory(context.directory));
  for (const std::string& name : left) {
    if (absl::StrContains(name, ".tmp-"))
      ENGRAM_RETURN_IF_ERROR(RemoveTree(absl::StrCat(context.directory, "/", name)));
  }
  ENGRAM_RETURN_IF_ERROR(RemoveTree(context.output()));
  return MakeDirectories(context.output());
}

// The most memory that this process held, in bytes; 0 if the kernel does not say. Not getrusage's: that starts with
// what the server held when it forked.
int64_t PeakBytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    int64_t kib = 0;
    if (std::sscanf(line.c_str(), "VmHWM: %" SCNd64 " kB", &kib) == 1) return kib * 1024;
  }
  return 0;
}

// Of the device where the run was computed.
int64_t PeakBytesOf(const std::string& device) {
  const absl::StatusOr<at::Device> at = nn::ParseDevice(device);
  return at.ok() && at->is_cuda() ? nn::PeakBytesOn(*at) : PeakBytes();
}

// A worker of a server that was killed ends within moments (FollowLifeline); until then it holds the lock.
absl::StatusOr<FileLock> AcquireRun(const std::string& directory) {
  constexpr int kAttempts = 200;
  for (int attempt = 1;; ++attempt) {
    absl::StatusOr<FileLock> lock = FileLock::Acquire(absl::StrCat(directory, "/lock"));
    if (lock.ok() || attempt == kAttempts) return lock;
    absl::SleepFor(absl::Milliseconds(50));
  }
}

// The run goes on later; the server is told why.
int GoOnLater(EventPipe& events, const absl::Status& lack) {
  LogWarning("the run ends because something is lacking; it can go on later",
             {{"message", std::string(lack.message())}});
  engram::worker::v1::RunEvent event;
  *event.mutable_lack() = server::ToError(lack);
  events.Send(event);
  return jobs::kExitResumable;
}

absl::Status ReadSpec(RunContext& context) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string spec, ReadFile(absl::StrCat(context.directory, "/spec.binpb")));
  return context.spec.ParseFromString(spec) ? absl::OkStatus() : absl::DataLossError("the specification is damaged");
}

// What the run comes to; nullopt if it stopped on request. The result is durable but for result.binpb.
absl::StatusOr<std::optional<engram::v1::JobResult>> Compute(RunContext& context) {
  const absl::Time start = Clock::Steady().Now();
  ENGRAM_RETURN_IF_ERROR(PrepareOutput(context));
  ENGRAM_ASSIGN_OR_RETURN(std::optional<engram::v1::JobResult> made, Dispatch(context));
  if (!made) return made;
  for (const std::string& warning : context.warnings) made->add_warnings(warning);
  ENGRAM_RETURN_IF_ERROR(SyncTree(context.output()));
  made->set_seconds(absl::ToDoubleSeconds(Clock::Steady().Now() - start));
  made->set_peak_bytes(PeakBytesOf(context.spec.device()));
  return made;
}

int Run(const std::string& directory) {
  EventPipe events(kEventDescriptor);
  RunContext context;
  context.directory = directory;
  context.stop = &stop_request;
  context.events = &events;
  const absl::StatusOr<FileLock> lock = AcquireRun(directory);
  // Its last process may hang in the kernel, which no signal ends: no crash of this one.
  if (absl::IsFailedPrecondition(lock.status())) {
    return GoOnLater(events, StatusWithReason(absl::StatusCode::kUnavailable, "RUN_BUSY",
                                              "the run's last process has not ended yet"));
  }
  const absl::Status opened = lock.ok() ? ReadSpec(context) : lock.status();
  if (IsLack(opened)) return GoOnLater(events, opened);
  if (!opened.ok()) {
    LogError("the run directory cannot be used", {{"message", std::string(opened.message())}});
    return EXIT_FAILURE;
  }
  // A run before this one had finished when its server died, too late for the next server to see the result.
  if (PathExists(absl::StrCat(directory, "/result.binpb"))) return EXIT_SUCCESS;
  at::set_num_threads(context.spec.threads() > 0 ? context.spec.threads() : UsableCores());
  LogInfo("run started", {{"job", context.spec.job()}, {"device", context.spec.device()}});
  const RunResult result = Compute(context);
  if (context.stopping() && (absl::IsCancelled(result.status()) || (result.ok() && !*result))) {
    LogInfo("run stopped on request", {{"job", context.spec.job()}});
    return jobs::kExitResumable;
  }
  if (IsLack(result.status())) return GoOnLater(events, result.status());
  engram::worker::v1::RunOutcome outcome;
  if (result.ok()) {
    *outcome.mutable_result() = **result;
  } else {
    *outcome.mutable_error() = server::ToError(result.status());
    LogError("run failed", {{"job", context.spec.job()}, {"message", outcome.error().message()}});
  }
  if (const absl::Status written = WriteOutcome(context, outcome); !written.ok()) return GoOnLater(events, written);
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace engram::worker

int main(int argc, char** argv) {
  if (argc != 3 || std::string_view(argv[1]) != "--run-directory") {
    std::fprintf(stderr, "engram-worker is started by engramd; usage: engram-worker --run-directory DIR\n");
    return 2;
  }
  engram::GiveWay();
  engram::nn::KeepTensorMemory();
  engram::nn::BoundShapeCaches();
  struct sigaction action {};
  action.sa_handler = engram::worker::OnTerminate;
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  engram::worker::FollowLifeline();
  return engram::worker::Run(argv[2]);
}
