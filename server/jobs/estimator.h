#pragma once

// What a planned job would take: texts, tokens, steps, time, memory and disk. `validate_only` answers with it.
//
// Texts are counted with the version's own tokenizer, in the form in which the worker would see them; of a large data
// set a part, evenly spread, and the rest is extrapolated. Sizes follow from the files of the base version. Time is
// tokens over a speed, and the estimate says where the speed is from:
//   1. the newest job of the same kind, model and precision that this server ran in one go;
//   2. else such a job of another model, scaled by the number of weights;
//   3. else the speed at which this machine multiplied matrices, as a job does it, when that was first asked: then the
//      time is what the encoder's products alone take, and a job takes longer.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/jobs/store.h"
#include "server/data_paths.h"
#include "server/jobs/task_planner.h"
#include "server/library/catalog.h"

namespace engram::server {

class JobEstimator {
 public:
  // `devices`: where jobs run.
  JobEstimator(jobs::Store& store, const Catalog& catalog, DataPaths paths, std::vector<std::string> devices)
      : store_(store), catalog_(catalog), paths_(std::move(paths)), devices_(std::move(devices)) {}

  // Reads and tokenizes up to kMaxCounted texts of each data set: for the pool, not for gRPC's threads. Errors are
  // those that the job would have: a data set that has nothing to learn from, say. Thread-safe.
  absl::StatusOr<engram::v1::JobEstimate> Estimate(const PlannedJob& job) const;

  static constexpr int64_t kMaxCounted = 4096;

 private:
  struct Base;
  absl::StatusOr<Base> Open(const PlannedJob& job) const;
  absl::Status CountTraining(const PlannedJob& job, const Base& base, engram::v1::JobEstimate& out) const;
  absl::Status CountConsolidation(const PlannedJob& job, const Base& base, engram::v1::JobEstimate& out) const;
  absl::Status CountEvaluation(const PlannedJob& job, const Base& base, engram::v1::JobEstimate& out) const;
  absl::Status AddTime(const PlannedJob& job, const Base& base, engram::v1::JobEstimate& out) const;
  void AddDisk(engram::v1::JobEstimate& out) const;

  jobs::Store& store_;
  const Catalog& catalog_;
  const DataPaths paths_;
  const std::vector<std::string> devices_;
};

}  // namespace engram::server
