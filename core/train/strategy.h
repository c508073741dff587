#pragma once

// What a continual-learning strategy may do while a task is trained. The trainer calls these hooks at fixed places of
// its loop (trainer.cc); each gets a narrow view, none can touch the loop's own variables. The class itself, with its
// empty hooks, is plain fine-tuning.
//
//   BeginTask -> [LoadState after a resume] -> Penalties
//     each optimizer step:  OnTargets -> forward (with FurtherQueries) -> FurtherGradients -> backward of each micro-batch,
//                           ExtraPasses after each
//                           OnGradients -> clipping -> AfterClipping -> AdamW with Penalties fused, at
//                           LearningRateScales -> AfterStep
//     at each run checkpoint: SaveState
//   AfterTraining, EndTask (only when training came to its end, not when it was interrupted)
//
// Where the known methods go:
//   EWC, online EWC, MAS, L2-SP     Penalties
//   SI                              AfterStep (its path integral), EndTask (what is remembered), Penalties
//   ER, DER++                       ExtraPasses (replayed examples), EndTask (which are kept)
//   self-training                   OnTargets (what the earlier model finds where the new texts say nothing)
//   A-GEM                           OnGradients (reference gradient in a GradientBuffer of its own, projection)
//   LwF                             BeginTask (TaskSetup::Frozen), FurtherQueries and FurtherGradients (the earlier
//                                   model's answers, learned by the pass that learns the task)
//   layers that thaw one by one     LearningRateScales
//   adapters, progressive columns   BeginTask (parameters added, `trainable` changed)
//   merging of models               BeginTask (weights to start from), AfterTraining
//
// Calls come from one thread. A status that is not OK ends the run with it.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/nn/gradient_sink.h"
#include "core/nn/model.h"
#include "core/train/example.h"
#include "core/train/micro_batch.h"
#include "core/train/quadratic_penalty.h"
#include "core/train/version_memory.h"

namespace engram::train {

// The numbers of a task; fixed while it is trained.
struct TaskContext {
  std::string task;
  checkpoint::TaskKind kind = checkpoint::TaskKind::kSequenceClassification;
  // Terms of the loss in one epoch (texts; tagged or masked tokens), N_B. The Laplace posterior's weight of an earlier
  // task with N_A texts, F the mean over texts, against the MEAN loss of this task is N_A / training_units.
  int64_t training_units = 0;
  int64_t total_steps = 0;   // optimizer steps
  double learning_rate = 0;  // at the peak
  uint64_t seed = 0;
  std::optional<MaskingOptions> masking = {};  // set exactly for masked language modelling
  int64_t known_labels = 0, outside = -1;      // as in TaskSpec

  // The version knows the task already, and it gets further labels.
  bool grows() const { return known_labels > 0; }
};

// A task about to be trained. Not thread-safe.
class TaskSetup : public TaskContext {
 public:
  // `model` must outlive the setup.
  explicit TaskSetup(nn::Model& trained) : model(trained) {}

  // The weights are those that training starts from; in BeginTask parameters may be appended. A version's files hold
  // encoder and heads alone: the strategy itself puts what it appended into its memory (EndTask) and gives it back
  // (BeginTask). Outlives the task, so a strategy may keep a pointer to it.
  nn::Model& model;
  std::span<const TrainingExample> examples;  // trained on, without those held out; live until the end of the task
  at::Tensor class_weights;  // fp32 [labels] on the model's device, as CrossEntropyLoss takes them; undefined: all 1
  // What the optimizer moves: the encoder's slots and those of the task's head. BeginTask may change it; every other
  // slot keeps its weights to the bit. Emptied: BeginTask has learned the task already, and no step is made.
  std::vector<nn::SlotId> trainable;

  // Whether the run is to stop. A BeginTask that takes long asks it now and then, and may end with CANCELLED: an
  // interrupted run begins it again.
  std::function<bool()> stop_requested = [] { return false; };

  // A copy of the model as it was when first asked for: a teacher for distilling. Made once; costs the memory of the
  // weights (and of their bf16 copy).
  std::shared_ptr<const nn::Model> Frozen();

 private:
  std::shared_ptr<const nn::Model> frozen_;
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

// What a strategy needs to go on after an interruption, to the bit. Tensors are fp32, int64 or int32, any shape.
struct StrategyState {
  std::map<std::string, at::Tensor> tensors;
  std::map<std::string, std::string> values;

  // The tensor of that name, on the device of `like`. DATA_LOSS if there is none, or one of another shape or dtype than
  // `like`.
  absl::StatusOr<at::Tensor> Tensor(const std::string& name, const at::Tensor& like) const;
};

class Strategy {
 public:
  virtual ~Strategy() = default;
  virtual std::string_view name() const { return "naive"; }

  // Before the optimizer is made. A resumed run calls it on the same version, before weights are restored, and must
  // find the same parameters appended and the same slots trainable.
  virtual absl::Status BeginTask(TaskSetup& /*setup*/) { return absl::OkStatus(); }
  // Asked once, after BeginTask and LoadState; fixed until EndTask.
  virtual std::vector<QuadraticPenalty> Penalties() { return {}; }
  // Before the forward pass of a micro-batch: `batch.targets` may be given other values (ops::kIgnored: no loss is taken
  // there), in a tensor of the same shape. `batch.units`, and with it the weight of each other target, stays.
  virtual absl::Status OnTargets(MicroBatch& /*batch*/) { return absl::OkStatus(); }
  // What else the task's own forward pass of a micro-batch is asked: heads of other tasks, or the task's own once more,
  // which cost no further pass of the encoder. A head that shall learn from it must be trainable.
  virtual std::vector<nn::TaskQuery> FurtherQueries(const MicroBatch& /*batch*/) { return {}; }
  // Their answers, fp32, in the order of FurtherQueries; called where that named any. Appends the gradient of the
  // strategy's loss, in which info.unit_weight is the weight of one term; `query` counts from 0 at the first of
  // FurtherQueries. Returns the loss, for the progress report.
  virtual absl::StatusOr<double> FurtherGradients(const MicroBatch& /*batch*/, std::span<const at::Tensor> /*logits*/,
                                                  const StepInfo& /*info*/,
                                                  std::vector<nn::HeadGradient>& /*gradients*/) {
    return 0.0;
  }
  // After the backward pass of a micro-batch: further passes whose gradients the sink adds up, weighted by the
  // strategy. Returns its weighted loss, for the progress report.
  virtual absl::StatusOr<double> ExtraPasses(nn::Model& /*model*/, const MicroBatch& /*batch*/,
                                             const StepInfo& /*info*/, nn::GradientSink& /*sink*/) {
    return 0.0;
  }
  // Gradients of the mean loss, all micro-batches added, before clipping; may be changed in place. Weights are
  // read-only here.
  virtual absl::Status OnGradients(const ParameterView& /*view*/, const StepInfo& /*info*/) { return absl::OkStatus(); }
  // AdamW takes `scale` (> 0) times the gradients: a gradient p that clipping is not to shrink is added as p / scale.
  // Returns the value of the penalty that it is of, for the progress report.
  virtual absl::StatusOr<double> AfterClipping(const ParameterView& /*view*/, const StepInfo& /*info*/,
                                               double /*scale*/) {
    return 0.0;
  }
  // Factors of the step's learning rate for trainable slots, each >= 0; 1 for those not named. A slot at 0 takes no part
  // in the step: neither its weights nor its moments move, and its gradient does not count for clipping.
  virtual std::map<nn::SlotId, double> LearningRateScales(const StepInfo& /*info*/) { return {}; }
  // After the optimizer step; gradients are still those that OnGradients left. True if it changed weights.
  virtual absl::StatusOr<bool> AfterStep(const ParameterView& /*view*/, const StepInfo& /*info*/) { return false; }
  // All steps are done and the weights are those that training ends with (with early stopping the best), before they are
  // measured and stored. True if it changed weights. A run that is interrupted while they are measured comes here again
  // when it goes on, after LoadState, with the weights as they were left.
  virtual absl::StatusOr<bool> AfterTraining(const TaskSetup& /*setup*/) { return false; }
  // The model has its final weights, which must stay. What is put into `memory` is stored with the new version in place
  // of what the strategy stored before; an empty memory leaves that as it is.
  virtual absl::Status EndTask(const TaskSetup& /*setup*/, VersionMemory& /*memory*/) { return absl::OkStatus(); }

  virtual absl::Status SaveState(StrategyState& /*state*/) const { return absl::OkStatus(); }
  // Weights are restored already.
  virtual absl::Status LoadState(const StrategyState& /*state*/) { return absl::OkStatus(); }
};

}  // namespace engram::train
