#pragma once

// The progress report of a run, and what it counts in this process alone.

#include <cstdint>

#include "absl/time/time.h"

namespace engram::train {

struct Progress {
  int64_t epoch = 0, epochs = 0;      // epoch from 1
  int64_t step = 0, total_steps = 0;  // optimizer steps done
  double loss = 0;                    // mean over units of this step's batch
  double mean_loss = 0;               // mean over the steps since the last report
  double penalty = 0;                 // all penalties together, at the weights before the step
  double extra_loss = 0;              // what the strategy's further passes report
  double learning_rate = 0;
  double gradient_norm = 0;      // before clipping
  double tokens_per_second = 0;  // real tokens, over this process's training time without evaluations
  int64_t tokens = 0;            // trained on since the job began
  double eta_seconds = 0;
};

// Not thread-safe.
class ProgressMeter {
 public:
  // To be called after each optimizer step. `progress` has the figures of the step itself; those that need more than
  // one step (mean_loss, tokens_per_second, eta_seconds) are filled in.
  void Add(absl::Duration took, int64_t tokens, Progress& progress);
  // The mean of the losses begins anew.
  void Reported();

 private:
  double seconds_ = 0, loss_ = 0;
  int64_t steps_ = 0, tokens_ = 0, unreported_steps_ = 0;
};

}  // namespace engram::train
