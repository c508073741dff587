#include "core/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "ATen/TensorOperators.h"
#include "absl/strings/str_cat.h"
#include "core/nn/ops.h"
#include "core/train/run_checkpoint.h"

namespace engram::train {

struct Trainer::State : RunState {};

namespace {

constexpr int64_t kDeadPenaltySteps = 10;   // moving weights under a penalty that stays 0 for this long raise the alarm
constexpr size_t kReferenceLosses = 20;     // the mean of the first losses, against which an explosion is measured

absl::Status InRange(const char* field, double value, double low, double high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("is ", value, "; it must lie in [", low, ", ", high, "]"));
}

absl::Status Diverged(int64_t step, const std::string& cause) {
  return StatusWithReason(absl::StatusCode::kAborted, "TRAINING_DIVERGED",
                          absl::StrCat("training diverged at step ", step, ": ", cause, "; lower learning_rate, or clip harder with max_grad_norm"));
}

// NaN, Inf, or a loss far above where the run began.
absl::Status CheckLoss(double loss, int64_t step, double factor, std::vector<double>& reference) {
  if (!std::isfinite(loss)) return Diverged(step, "the loss is NaN or Inf");
  if (reference.size() < kReferenceLosses) {
    reference.push_back(loss);
    return absl::OkStatus();
  }
  double mean = 0;
  for (const double first : reference) mean += first / static_cast<double>(reference.size());
  if (loss > factor * mean) return Diverged(step, absl::StrCat("the loss rose to ", loss, ", from ", mean, " in the first steps"));
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckTrainOptions(const TrainOptions& o) {
  ENGRAM_RETURN_IF_ERROR(InRange("epochs", static_cast<double>(o.epochs), 1, 10000));
  ENGRAM_RETURN_IF_ERROR(InRange("batch_size", static_cast<double>(o.batch_size), 1, 65536));
  ENGRAM_RETURN_IF_ERROR(InRange("accumulation", static_cast<double>(o.accumulation), 1, 4096));
  ENGRAM_RETURN_IF_ERROR(InRange("learning_rate", o.learning_rate, 1e-12, 1));
  ENGRAM_RETURN_IF_ERROR(InRange("warmup_ratio", o.warmup_ratio, 0, 1));
  ENGRAM_RETURN_IF_ERROR(InRange("max_grad_norm", o.max_gradient_norm, 0, 1e9));
  ENGRAM_RETURN_IF_ERROR(InRange("weight_decay", o.adamw.weight_decay, 0, 1));
  ENGRAM_RETURN_IF_ERROR(InRange("early_stopping_patience", static_cast<double>(o.early_stopping_patience), 0, 10000));
  ENGRAM_RETURN_IF_ERROR(InRange("checkpoint_every_steps", static_cast<double>(o.checkpoint_every_steps), 0, 1e9));
  return InRange("divergence_factor", o.divergence_factor, 1.0, 1e9);
}

Trainer::Trainer(nn::Model& model, std::string task, std::span<const TrainingExample> training, std::span<const TrainingExample> validation,
                 Strategy& strategy, const TrainOptions& options, std::string checkpoint_path)
    : model_(model),
      task_(std::move(task)),
      training_(training),
      validation_(validation),
      strategy_(strategy),
      options_(options),
      checkpoint_path_(std::move(checkpoint_path)) {}

std::vector<nn::SlotId> Trainer::Trainable() const {
  std::vector<nn::SlotId> slots = model_.EncoderSlots();
  const std::vector<nn::SlotId> head = model_.HeadSlots(task_);
  slots.insert(slots.end(), head.begin(), head.end());
  return slots;
}

absl::StatusOr<double> Trainer::AccumulateGradients(int64_t epoch, int64_t step_in_epoch, const std::vector<int64_t>& order, int64_t& tokens) {
  const int64_t count = static_cast<int64_t>(order.size()), step_texts = options_.batch_size * options_.accumulation;
  const int64_t begin = step_in_epoch * step_texts, end = std::min(count, begin + step_texts);
  const nn::HeadKind kind = model_.heads().at(task_).kind;
  const at::Device device = model_.parameters().device();
  nn::AccumulateSink sink(&model_.parameters());
  model_.parameters().ZeroGradients();
  std::vector<LabelledBatch> batches;
  int64_t counted = 0;
  for (int64_t first = begin; first < end; first += options_.batch_size) {
    const std::span<const int64_t> indices(order.data() + first, static_cast<size_t>(std::min(end - first, options_.batch_size)));
    ENGRAM_ASSIGN_OR_RETURN(LabelledBatch batch, MakeBatch(training_, indices, kind, device));
    counted += batch.counted;
    batches.push_back(std::move(batch));
  }
  // The loss is the mean over all texts (or words) of the step, whatever micro-batch they are in.
  const double scale = 1.0 / static_cast<double>(std::max<int64_t>(counted, 1));
  const int64_t micro_batches_an_epoch = (count + options_.batch_size - 1) / options_.batch_size;
  double loss = 0;
  for (size_t i = 0; i < batches.size(); ++i) {
    const nn::TrainingMode mode{options_.seed, static_cast<uint64_t>(epoch * micro_batches_an_epoch + step_in_epoch * options_.accumulation + static_cast<int64_t>(i))};
    const auto tape = nn::Model::NewTape();
    const at::Tensor hidden = model_.Encode(batches[i].batch, mode, tape.get());
    const at::Tensor logits = model_.Head(task_, hidden, batches[i].batch, at::Tensor(), mode, tape.get());
    nn::ops::CrossEntropyResult entropy = nn::ops::CrossEntropy(logits, batches[i].targets, at::Tensor());
    loss += entropy.loss.sum(at::kDouble).item<double>() * scale;
    model_.Backward(entropy.grad.mul_(scale), *tape, sink);
    tokens += batches[i].batch.tokens();
  }
  return loss;
}

absl::StatusOr<double> Trainer::ValidationLoss() const {
  const nn::HeadKind kind = model_.heads().at(task_).kind;
  const std::vector<int64_t> order = EpochOrder(validation_, options_.batch_size, options_.seed, 0);
  double sum = 0;
  int64_t counted = 0;
  for (size_t first = 0; first < order.size(); first += static_cast<size_t>(options_.batch_size)) {
    const size_t length = std::min(order.size() - first, static_cast<size_t>(options_.batch_size));
    ENGRAM_ASSIGN_OR_RETURN(const LabelledBatch batch, MakeBatch(validation_, {order.data() + first, length}, kind, model_.parameters().device()));
    const at::Tensor hidden = model_.Encode(batch.batch, std::nullopt, nullptr);
    const at::Tensor logits = model_.Head(task_, hidden, batch.batch, at::Tensor(), std::nullopt, nullptr);
    sum += nn::ops::CrossEntropy(logits, batch.targets, at::Tensor()).loss.sum(at::kDouble).item<double>();
    counted += batch.counted;
  }
  return sum / static_cast<double>(std::max<int64_t>(counted, 1));
}

absl::Status Trainer::SaveCheckpoint(const State& state, const AdamW& optimizer) const {
  if (checkpoint_path_.empty()) return absl::OkStatus();
  return WriteRunCheckpoint(checkpoint_path_, state,
                            {{"weights", model_.parameters().weights()}, {"first_moment", optimizer.first_moment()},
                             {"second_moment", optimizer.second_moment()}, {"best_weights", best_weights_}},
                            strategy_.SaveState());
}

absl::StatusOr<bool> Trainer::LoadCheckpoint(State& state, AdamW& optimizer) {
  if (checkpoint_path_.empty()) return false;
  ENGRAM_ASSIGN_OR_RETURN(std::optional<RunCheckpoint> found, ReadRunCheckpoint(checkpoint_path_, model_.parameters().size()));
  if (!found) return false;
  static_cast<RunState&>(state) = found->state;
  model_.parameters().weights().copy_(found->tensors.at("weights"));
  model_.parameters().RefreshCompute();
  optimizer.Restore(found->tensors.at("first_moment"), found->tensors.at("second_moment"), state.step);
  if (found->tensors.contains("best_weights")) best_weights_ = found->tensors.at("best_weights");
  ENGRAM_RETURN_IF_ERROR(strategy_.RestoreState(found->strategy));
  return true;
}

absl::StatusOr<TrainResult> Trainer::Run(const TrainHooks& hooks) {
  ENGRAM_RETURN_IF_ERROR(CheckTrainOptions(options_));
  if (training_.empty()) return InvalidField("dataset", "has no training texts");
  nn::ParameterBuffer& parameters = model_.parameters();
  parameters.EnableGradients();
  AdamW optimizer(parameters, Trainable(), options_.adamw);
  const int64_t step_texts = options_.batch_size * options_.accumulation;
  const int64_t steps_an_epoch = (static_cast<int64_t>(training_.size()) + step_texts - 1) / step_texts;
  const int64_t total = options_.epochs * steps_an_epoch;
  const int64_t warmup = static_cast<int64_t>(std::ceil(options_.warmup_ratio * static_cast<double>(total)));
  State state;
  ENGRAM_RETURN_IF_ERROR(LoadCheckpoint(state, optimizer).status());
  TrainResult result;

  while (state.step < total) {
    const int64_t epoch = state.step / steps_an_epoch;
    const std::vector<int64_t> order = EpochOrder(training_, options_.batch_size, options_.seed, epoch);
    for (int64_t in_epoch = state.step % steps_an_epoch; in_epoch < steps_an_epoch; ++in_epoch) {
      if (hooks.stop != nullptr && hooks.stop->load()) {
        ENGRAM_RETURN_IF_ERROR(SaveCheckpoint(state, optimizer));
        result.end = TrainEnd::kInterrupted;
        result.steps = state.step;
        return result;
      }
      TrainProgress progress{epoch + 1, state.step + 1, total, 0, 0, 0, 0};
      ENGRAM_ASSIGN_OR_RETURN(progress.loss, AccumulateGradients(epoch, in_epoch, order, progress.tokens));
      ENGRAM_RETURN_IF_ERROR(CheckLoss(progress.loss, progress.step, options_.divergence_factor, state.reference_losses));
      const double norm = optimizer.GradientNorm();
      if (!std::isfinite(norm)) return Diverged(progress.step, "a gradient is NaN or Inf");
      const double clip = options_.max_gradient_norm > 0 ? std::min(1.0, options_.max_gradient_norm / (norm + 1e-6)) : 1.0;
      progress.learning_rate = options_.learning_rate * ScheduleFactor(options_.schedule, state.step + 1, warmup + 1, total + 1);
      const StepReport report = optimizer.Step(progress.learning_rate, clip, strategy_.penalties());
      progress.penalty = report.penalty;
      state.step = progress.step;
      state.dead_penalty_steps = report.penalty == 0 && report.movement > 0 ? state.dead_penalty_steps + 1 : 0;
      if (state.dead_penalty_steps == kDeadPenaltySteps) {
        result.warnings.push_back(absl::StrCat("the penalty is still 0 after ", kDeadPenaltySteps, " steps in which weights moved: it protects nothing"));
      }
      result.last_loss = progress.loss;
      if (hooks.on_progress) hooks.on_progress(progress);
      if (options_.checkpoint_every_steps > 0 && state.step % options_.checkpoint_every_steps == 0) {
        ENGRAM_RETURN_IF_ERROR(SaveCheckpoint(state, optimizer));
      }
    }
    if (options_.early_stopping_patience > 0 && !validation_.empty()) {
      ENGRAM_ASSIGN_OR_RETURN(const double loss, ValidationLoss());
      if (!best_weights_.defined() || loss < state.best_validation_loss) {
        state.best_validation_loss = loss;
        state.evaluations_without_gain = 0;
        best_weights_ = parameters.weights().clone();
      } else if (++state.evaluations_without_gain >= options_.early_stopping_patience) {
        result.end = TrainEnd::kEarlyStopped;
        break;
      }
    }
  }
  if (best_weights_.defined()) {
    parameters.weights().copy_(best_weights_);
    parameters.RefreshCompute();
  }
  result.steps = state.step;
  result.best_validation_loss = state.best_validation_loss;
  return result;
}

}  // namespace engram::train
