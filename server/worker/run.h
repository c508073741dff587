#pragma once

// What a worker process does with its specification: one function a kind of job.

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/train/trainer.h"
#include "engram/worker/v1/worker.pb.h"
#include "server/worker/event_pipe.h"

namespace engram::worker {

// What all runs share. Not thread-safe, but for `stop`.
struct RunContext {
  engram::worker::v1::RunSpec spec;
  std::string directory;  // the run directory
  std::atomic<train::StopRequest>* stop = nullptr;
  EventPipe* events = nullptr;
  std::vector<std::string> warnings;
  std::string stage;  // which of several trainings this is ("fold 2 of 5"), before each phase; may be empty
  bool measured_elsewhere = false;  // this training need not measure itself: other figures say how good it is

  bool stopping() const { return stop->load(std::memory_order_relaxed) != train::StopRequest::kNone; }
  std::string output() const { return directory + "/output"; }
  std::string checkpoint() const { return directory + "/checkpoint.safetensors"; }
  void WarnIfAny(std::optional<std::string> warning) {
    if (warning) warnings.push_back(*std::move(warning));
  }
  // Says how far the run is; the warnings so far go along.
  void Report(engram::v1::JobProgress progress) const;
  void Phase(const std::string& phase) const;
  // A callback for passes over texts: reports in steps of about one per cent, false once the run is to stop.
  std::function<bool(int64_t, int64_t)> Counter(const std::string& phase) const;
};

// The result of a run that did its work; nullopt if it stopped on request, with its checkpoint written.
using RunResult = absl::StatusOr<std::optional<engram::v1::JobResult>>;

RunResult RunTraining(RunContext& context);
RunResult RunConsolidation(RunContext& context);
RunResult RunEvaluation(RunContext& context);
RunResult RunCrossValidation(RunContext& context);
RunResult RunCollection(RunContext& context);

}  // namespace engram::worker
