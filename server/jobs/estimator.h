#pragma once

// What a planned job would take: texts, tokens, steps, time, memory and disk. `validate_only` answers with it.
//
// The job's kind counts and sizes its work (JobKind::Estimate). Time is tokens over a speed, and the estimate says
// where the speed is from:
//   1. the newest job of the same kind, model and precision that this server ran in one go, and up to four before it for
//      the range;
//   2. else such a job of another model, scaled by the number of weights;
//   3. else the speed at which this machine multiplied matrices, as a job does it, when that was first asked: then the
//      time is what the encoder's products alone take, and a job takes longer.

#include <string>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "server/jobs/job_kind.h"

namespace engram::server {

class JobEstimator {
 public:
  // `devices`: where jobs run. The context must outlive it.
  JobEstimator(const PlanContext& context, std::vector<std::string> devices)
      : context_(context), devices_(std::move(devices)) {}

  // Reads and tokenizes texts: for the pool, not for gRPC's threads. Errors are those that the job would have: a data
  // set that has nothing to learn from, say. Thread-safe.
  absl::StatusOr<engram::v1::JobEstimate> Estimate(const PlannedJob& job) const;

 private:
  // Tokens per second of the jobs that an estimate is based on.
  struct SpeedRange {
    double lowest = 0, highest = 0;
  };
  absl::Status AddMeasuredSpeed(const PlannedJob& job, SpeedRange& range, engram::v1::JobEstimate& out) const;
  absl::Status AddTime(const PlannedJob& job, const WorkEstimate& work, engram::v1::JobEstimate& out) const;
  void AddDisk(engram::v1::JobEstimate& out) const;

  const PlanContext& context_;
  const std::vector<std::string> devices_;
};

}  // namespace engram::server
