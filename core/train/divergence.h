#pragma once

// Notices a run that has come apart.

#include <cstdint>
#include <deque>
#include <vector>

#include "core/base/status.h"

namespace engram::train {

// A loss has exploded when it is above 10 times the larger of three figures in 3 steps running: the median of the last
// 50 losses that were not suspicious, the first loss, and the loss of guessing (ln C, at least 1). The floor keeps a
// run that has all but reached loss 0 from being ended by one hard batch. Value type; its state is part of a run
// checkpoint.
class DivergenceDetector {
 public:
  // `guessing_loss`: ln(number of classes).
  explicit DivergenceDetector(double guessing_loss);

  // To be called once an optimizer step, before the weights are changed. ABORTED with reason TRAINING_DIVERGED, the
  // step (counted from 1) and the cause.
  absl::Status Check(int64_t step, double loss, double gradient_norm);

  // All of its state as numbers, and back.
  std::vector<double> State() const;
  void Restore(const std::vector<double>& state);

 private:
  double floor_;
  double first_ = -1;  // -1: none yet
  int suspicious_ = 0;
  std::deque<double> window_;
};

// The same error for weights that the last step, `step`, left behind: no loss will be taken with them any more.
// `largest`: the largest absolute weight, NaN if one is.
absl::Status CheckLastWeights(int64_t step, double largest);

}  // namespace engram::train
