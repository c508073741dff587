#pragma once

// The checkpoint of a run: everything that the next step depends on and that is no function of (options, examples,
// seed, step). One safetensors file, replaced whole, so that a crash at any moment leaves the old checkpoint or the new
// one.
//   weights, first_moment, second_moment   fp32 [N]
//   best_weights                           fp32 [N], with early stopping after the first evaluation
//   strategy.<name>                        what the strategy saved
//   metadata "run": JSON of RunState; metadata "strategy.<name>": the strategy's values

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/train/strategy.h"

namespace engram::train {

// Where the loop stands.
struct RunState {
  int64_t epoch = 0;          // from 0
  int64_t step_in_epoch = 0;  // the next one
  int64_t step = 0;           // optimizer steps done
  int64_t micro_batch = 0;    // micro-batches done
  int64_t tokens = 0;
  double epoch_loss = 0;  // sum over the epoch's units so far
  int64_t epoch_units = 0;
  double last_epoch_loss = 0;  // mean of the last whole epoch
  bool has_best = false;
  double best_score = 0, best_loss = 0;
  int64_t best_epoch = 0;  // from 1
  int64_t evaluations_without_gain = 0;
  std::vector<int64_t>
      dead_steps;  // for each penalty: steps of moving weights since the start in which it was 0; -1: it has acted
  bool dead_penalty = false;
  double penalty_share = 0;        // the largest seen, of the task's gradient (penalty_share.h)
  std::vector<double> divergence;  // DivergenceDetector::State
};

struct RunCheckpoint {
  std::string fingerprint;  // of the options, the task, the examples and the model's shapes
  RunState state;
  at::Tensor weights, first_moment, second_moment;
  at::Tensor best_weights;  // or undefined
  StrategyState strategy;
};

absl::Status WriteRunCheckpoint(const std::string& path, const RunCheckpoint& checkpoint);

// Fills `checkpoint`; false if there is no file. `weights` and the moments are the run's own tensors (fp32 [N], any
// device) and are filled in place, so that a run that goes on needs no more memory than one that starts;
// `best_weights` and the strategy's tensors are made. FAILED_PRECONDITION if the file belongs to another run than
// `checkpoint.fingerprint`, DATA_LOSS if it is damaged: then the tensors hold anything.
absl::StatusOr<bool> ReadRunCheckpoint(const std::string& path, RunCheckpoint& checkpoint);

}  // namespace engram::train
