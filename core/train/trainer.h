#pragma once

// Training of one task: one loop, in trainer.cc, to be read from top to bottom.
//
// Memory on the model's device, with N parameters: weights, gradients and two moments in fp32 (16 N bytes), plus 2 N
// for the bf16 copy where precision is bf16, plus what the strategy holds (EWC: importance and anchor, 8 bytes per
// encoder parameter and quadratic), plus 4 N for the best weights if early stopping is on, plus the activations of one
// micro-batch. Training gives no gradient buffer back: the process is expected to end.
//
// Example:
//   TrainInput input;
//   input.task = {"emotion", checkpoint::TaskKind::kSequenceClassification, 6, std::nullopt};
//   input.training = examples;
//   input.checkpoint_path = run_directory + "/checkpoint.safetensors";
//   ENGRAM_ASSIGN_OR_RETURN(const TrainResult result, Train(*model, options, input));
//   if (result.outcome == TrainOutcome::kInterrupted) return kExitResumable;

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/nn/model.h"
#include "core/train/evaluate.h"
#include "core/train/example.h"
#include "core/train/micro_batch.h"
#include "core/train/progress_meter.h"
#include "core/train/strategy.h"
#include "core/train/train_options.h"

namespace engram::train {

// Called from the training thread, at step boundaries; should return at once.
class TrainObserver {
 public:
  virtual ~TrainObserver() = default;
  virtual void OnProgress(const Progress& /*progress*/) {}
  // After each epoch if there are validation examples. `best`: the best score so far.
  virtual void OnEvaluation(int64_t /*epoch*/, const Evaluation& /*evaluation*/, bool /*best*/) {}
  // `reason` in UPPER_SNAKE_CASE ("DEAD_PENALTY"), `message` for the user.
  virtual void OnWarning(std::string_view /*reason*/, std::string_view /*message*/) {}
  virtual void OnCheckpoint(int64_t /*step*/) {}
};

// kCheckpoint: write a run checkpoint at the next step boundary and end with kInterrupted. kCancel: end with CANCELLED,
// write nothing.
enum class StopRequest : int { kNone, kCheckpoint, kCancel };

struct TrainInput {
  TaskSpec task;
  std::span<const TrainingExample> training;
  std::span<const TrainingExample> validation;  // empty: options.validation_fraction of `training` is held out
  Strategy* strategy = nullptr;                 // nullptr: naive
  // The strategy's options as text, which tell a checkpoint of this run from one of another.
  std::map<std::string, std::string> strategy_options;
  TokenMetric token_metric;  // optional: score of token classification
  // Optional: what is to be learned about the trained model, called once it has its final weights. If a stop is
  // requested meanwhile it may end with CANCELLED: then the run is interrupted, and when it goes on it trains no more.
  std::function<absl::Status()> measure;
  std::string checkpoint_path;  // empty: no run checkpoints; if the file is there, the run goes on from it
  const std::atomic<StopRequest>* stop = nullptr;
  TrainObserver* observer = nullptr;
  int64_t progress_every_steps = 1;
  const Clock* clock = &Clock::Real();
};

enum class TrainOutcome { kCompleted, kStoppedEarly, kInterrupted };

struct TrainResult {
  TrainOutcome outcome = TrainOutcome::kCompleted;
  int64_t steps = 0, total_steps = 0;
  int64_t tokens = 0;
  double final_loss = 0;                 // mean over the last epoch's units
  std::optional<Evaluation> validation;  // of the weights that the model now has; none without validation examples
  int64_t best_epoch = 0;  // after which the score on the validation examples was best, from 1; 0: never measured
  bool resumed = false;
  bool dead_penalty = false;  // a penalty stayed 0 through 10 steps of moving weights
  // The largest length of the penalties' gradient over that of the task's own, after clipping, in the steps that were
  // looked at (penalty_share.h); at least 1 where a strategy adds a penalty of its own after clipping. 0: no penalty.
  double penalty_share = 0;
  VersionMemory memory;  // what the strategy wants stored with the new version; empty: nothing new
};

// Trains the encoder and the head of input.task.name, which the model must have; heads of other tasks stay as they are
// to the bit, unless the strategy trains them (replay). With early stopping the model ends with the weights of its best
// evaluation (best score, then lower loss).
//
// On the CPU a run that was interrupted and goes on from its checkpoint ends with the same bits as one that was not,
// with the same number of threads.
//
// Errors: INVALID_ARGUMENT (options, examples, penalties); NOT_FOUND (the model has no such head); ABORTED with reason
// TRAINING_DIVERGED, step and cause (loss, gradient or final weight is NaN or infinite, or the loss exploded);
// CANCELLED; FAILED_PRECONDITION (the checkpoint is of another run); what the strategy or writing a checkpoint
// returned.
absl::StatusOr<TrainResult> Train(nn::Model& model, const TrainOptions& options, const TrainInput& input);

}  // namespace engram::train
