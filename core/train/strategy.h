#pragma once

// What a continual-learning strategy may do while a task is trained. The trainer calls these hooks at fixed places of
// its loop (trainer.cc); each gets a narrow view, none can touch the loop's own variables. All have empty defaults,
// which is `naive`.
//
//   BeginTask -> [LoadState after a resume] -> Penalties
//     each optimizer step:  forward and backward of each micro-batch, ExtraPasses after each
//                           OnGradients -> clipping -> AdamW with Penalties fused -> AfterStep
//     at each run checkpoint: SaveState
//   EndTask (only when training came to its end, not when it was interrupted)
//
// Where the known methods go: EWC, online EWC, MAS, L2-SP: Penalties. SI: OnGradients and AfterStep (its path
// integral), Penalties. A-GEM: ExtraPasses (the reference gradient) and OnGradients (the projection). ER, DER++, LwF:
// ExtraPasses (replayed batches, earlier logits).
//
// Calls come from one thread. A status that is not OK ends the run with it.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/nn/gradient_sink.h"
#include "core/nn/model.h"
#include "core/train/micro_batch.h"
#include "core/train/quadratic_penalty.h"

namespace engram::train {

// Fixed while a task is trained.
struct TaskContext {
  std::string task;
  nn::HeadKind kind = nn::HeadKind::kSequenceClassification;
  int64_t training_examples = 0;  // texts trained on, without those held out
  // Terms of the loss in one epoch (texts; tagged or masked tokens). The Laplace posterior's weight of an earlier task
  // with N_A texts, F the mean over texts, against the MEAN loss of this task is N_A / training_units.
  int64_t training_units = 0;
  int64_t total_steps = 0;   // optimizer steps
  double learning_rate = 0;  // at the peak
  uint64_t seed = 0;
  std::vector<nn::SlotId> trainable;  // the encoder's slots and those of this task's head
};

struct StepInfo {
  int64_t step = 0;         // optimizer step, from 0
  int64_t micro_batch = 0;  // micro-batches seen before this one; keys dropout
  double learning_rate = 0;
  double unit_weight = 0;  // 1 / units of the optimizer step: the weight of one loss term in the gradients
};

// Flat memory of the model, fp32 [N], in the order of `slices`.
struct ParameterView {
  at::Tensor weights;
  at::Tensor gradients;
  const std::vector<nn::ParameterSlice>& slices;
};

// What a strategy needs to go on after an interruption, to the bit. Tensors are fp32 or int64, any shape.
struct StrategyState {
  std::map<std::string, at::Tensor> tensors;
  std::map<std::string, std::string> values;
};

struct StrategyCost {
  int64_t bytes = 0;        // held during training beyond a naive run
  double extra_passes = 0;  // forward and backward passes a batch beyond naive's one
};

class Strategy {
 public:
  virtual ~Strategy() = default;
  virtual std::string_view name() const = 0;

  virtual absl::Status BeginTask(nn::Model& /*model*/, const TaskContext& /*context*/) { return absl::OkStatus(); }
  // Asked once, after BeginTask and LoadState; fixed until EndTask.
  virtual std::vector<QuadraticPenalty> Penalties() { return {}; }
  // After the backward pass of a micro-batch: further passes whose gradients the sink adds up, weighted by the
  // strategy. Returns its weighted loss, for the progress report.
  virtual absl::StatusOr<double> ExtraPasses(nn::Model& /*model*/, const MicroBatch& /*batch*/,
                                             const StepInfo& /*info*/, nn::GradientSink& /*sink*/) {
    return 0.0;
  }
  // Gradients of the mean loss, all micro-batches added, before clipping; may be changed in place. Weights are
  // read-only here.
  virtual absl::Status OnGradients(const ParameterView& /*view*/, const StepInfo& /*info*/) { return absl::OkStatus(); }
  // After the optimizer step; gradients are still those that OnGradients left. True if it changed weights.
  virtual absl::StatusOr<bool> AfterStep(const ParameterView& /*view*/, const StepInfo& /*info*/) { return false; }
  virtual absl::Status EndTask(nn::Model& /*model*/, const TaskContext& /*context*/) { return absl::OkStatus(); }

  virtual absl::Status SaveState(StrategyState& /*state*/) const { return absl::OkStatus(); }
  virtual absl::Status LoadState(const StrategyState& /*state*/) { return absl::OkStatus(); }
  virtual StrategyCost cost() const { return {}; }
};

}  // namespace engram::train
