#include "core/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "ATen/ops/linalg_vector_norm.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "c10/core/GradMode.h"
#include "core/base/files.h"
#include "core/nn/gradient_sink.h"
#include "core/train/adamw.h"
#include "core/train/batches.h"
#include "core/train/divergence.h"
#include "core/train/fingerprint.h"
#include "core/train/penalty_share.h"
#include "core/train/pending_loss.h"
#include "core/train/run_checkpoint.h"
#include "core/train/schedule.h"
#include "core/train/task_data.h"

namespace engram::train {
namespace {

constexpr int64_t kDeadPenaltySteps = 10;

// What the strategy chose to train, each slot once.
absl::Status CheckTrainable(const nn::ParameterBuffer& parameters, std::vector<nn::SlotId>& trainable) {
  std::sort(trainable.begin(), trainable.end());
  trainable.erase(std::unique(trainable.begin(), trainable.end()), trainable.end());
  if (trainable.empty()) return absl::OkStatus();
  if (trainable.front() < 0 || trainable.back() >= static_cast<nn::SlotId>(parameters.slices().size())) {
    return absl::InternalError("the strategy trains a parameter that the model does not have");
  }
  return absl::OkStatus();
}

// One training run: state and the steps that the loop is made of. The order of a run is in Loop(); read from there.
class Run {
 public:
  Run(nn::Model& model, const TrainOptions& options, const TrainInput& input)
      : model_(model),
        parameters_(model.parameters()),
        options_(options),
        input_(input),
        data_(input.training, input.validation),
        strategy_(input.strategy != nullptr ? *input.strategy : naive_),
        observer_(input.observer != nullptr ? *input.observer : silent_),
        setup_(model),
        divergence_(std::log(static_cast<double>(std::max<int64_t>(2, input.task.labels)))) {}

  absl::Status Prepare();
  absl::StatusOr<TrainResult> Loop();
  StopRequest Requested() const {
    return input_.stop == nullptr ? StopRequest::kNone : input_.stop->load(std::memory_order_relaxed);
  }

 private:
  using Batches = std::vector<std::vector<int64_t>>;

  Batches PlanEpoch(int64_t epoch) const;
  int64_t StepsOf(const Batches& batches) const;
  absl::Status Resume();
  absl::Status SaveCheckpoint();
  absl::StatusOr<TrainResult> Interrupt();

  absl::Status Step(std::span<const std::vector<int64_t>> batches);
  absl::StatusOr<double> ForwardBackward(std::span<const std::vector<int64_t>> batches, StepInfo& info,
                                         double& extra_loss);
  void WatchPenalties(const std::vector<double>& values, bool moved);
  void MeasurePenalties(double task_norm, double added);
  void WarnOfWeakPenalties();
  void Report(absl::Duration took, int64_t tokens, Progress progress);

  absl::StatusOr<Evaluation> EvaluateNow(StopRequest cancelled_by);
  absl::Status EndEpoch();
  bool OutOfPatience() const;
  bool Better(const Evaluation& evaluation) const;
  absl::StatusOr<TrainResult> Finish();

  nn::Model& model_;
  nn::ParameterBuffer& parameters_;
  const TrainOptions& options_;
  const TrainInput& input_;
  TaskData data_;
  Strategy naive_;
  TrainObserver silent_;
  Strategy& strategy_;
  TrainObserver& observer_;

  int64_t total_steps_ = 0, warmup_steps_ = 0;
  TaskSetup setup_;
  std::vector<QuadraticPenalty> penalties_;
  std::unique_ptr<AdamW> optimizer_;
  std::string fingerprint_;

  RunState state_;
  DivergenceDetector divergence_;
  at::Tensor best_weights_;
  std::optional<Evaluation> last_evaluation_;  // of the weights as they are
  bool resumed_ = false;
  ProgressMeter meter_;
};

absl::Status Run::Prepare() {
  ENGRAM_RETURN_IF_ERROR(ValidateTrainOptions(options_));
  ENGRAM_RETURN_IF_ERROR(data_.Prepare(model_, options_, input_.task));
  for (int64_t epoch = 0; epoch < options_.epochs; ++epoch) total_steps_ += StepsOf(PlanEpoch(epoch));
  warmup_steps_ = options_.warmup_steps > 0 ? options_.warmup_steps : WarmupSteps(options_.warmup_ratio, total_steps_);

  static_cast<TaskContext&>(setup_) = {input_.task.name,
                                       input_.task.kind,
                                       CountUnits(input_.task, data_.training()),
                                       total_steps_,
                                       options_.lr,
                                       options_.seed,
                                       input_.task.masking,
                                       input_.task.known_labels,
                                       input_.task.outside};
  if (setup_.training_units == 0) return InvalidField("dataset", "has no tagged token to learn from");
  if (options_.class_weights == ClassWeights::kBalanced) {
    if (input_.task.masking) return InvalidField("class_weights", "are for labels and tags; leave them out");
    setup_.class_weights = BalancedClassWeights(input_.task, data_.training()).to(parameters_.device());
  }
  setup_.examples = data_.training();
  setup_.trainable = model_.EncoderSlots();
  for (const nn::SlotId slot : model_.HeadSlots(input_.task.name)) setup_.trainable.push_back(slot);
  setup_.stop_requested = [this] { return Requested() != StopRequest::kNone; };
  ENGRAM_RETURN_IF_ERROR(strategy_.BeginTask(setup_));
  ENGRAM_RETURN_IF_ERROR(CheckTrainable(parameters_, setup_.trainable));
  if (setup_.trainable.empty()) total_steps_ = 0;
  parameters_.EnableGradients();
  optimizer_ =
      std::make_unique<AdamW>(&parameters_, setup_.trainable,
                              AdamWOptions{options_.beta1, options_.beta2, options_.epsilon, options_.weight_decay});
  ENGRAM_RETURN_IF_ERROR(Resume());
  penalties_ = strategy_.Penalties();
  for (const QuadraticPenalty& penalty : penalties_)
    ENGRAM_RETURN_IF_ERROR(ValidatePenalty(penalty, parameters_.weights()));
  state_.dead_steps.resize(penalties_.size());
  return absl::OkStatus();
}

Run::Batches Run::PlanEpoch(int64_t epoch) const {
  return MakeBatches(data_.lengths(), {options_.batch_size, options_.batch_tokens, options_.order, options_.seed},
                     epoch);
}

int64_t Run::StepsOf(const Batches& batches) const {
  return (static_cast<int64_t>(batches.size()) + options_.accumulation - 1) / options_.accumulation;
}

absl::Status Run::Resume() {
  if (input_.checkpoint_path.empty()) return absl::OkStatus();
  fingerprint_ = RunFingerprint(options_, input_.task, {strategy_.name(), input_.strategy_options}, data_.training(),
                                data_.validation(), parameters_, setup_.trainable);
  RunCheckpoint checkpoint;
  checkpoint.fingerprint = fingerprint_;
  checkpoint.weights = parameters_.weights();
  checkpoint.first_moment = optimizer_->first_moment();
  checkpoint.second_moment = optimizer_->second_moment();
  ENGRAM_ASSIGN_OR_RETURN(const bool found, ReadRunCheckpoint(input_.checkpoint_path, checkpoint));
  if (!found) return absl::OkStatus();
  state_ = checkpoint.state;
  parameters_.RefreshCompute();
  optimizer_->Restore(state_.step, checkpoint.first_moment, checkpoint.second_moment);
  divergence_.Restore(state_.divergence);
  best_weights_ = checkpoint.best_weights;
  resumed_ = true;
  return strategy_.LoadState(checkpoint.strategy);
}

// The whole of training. Each line that starts with ENGRAM_ ends the run if what it calls failed.
absl::StatusOr<TrainResult> Run::Loop() {
  while (total_steps_ > 0 && state_.epoch < options_.epochs && !OutOfPatience()) {
    const Batches batches = PlanEpoch(state_.epoch);
    const int64_t steps = StepsOf(batches);
    while (state_.step_in_epoch < steps) {
      if (Requested() != StopRequest::kNone) return Interrupt();
      const size_t begin = static_cast<size_t>(state_.step_in_epoch * options_.accumulation);
      const size_t end = std::min(batches.size(), begin + static_cast<size_t>(options_.accumulation));
      ENGRAM_RETURN_IF_ERROR(Step(std::span(batches).subspan(begin, end - begin)));
      const bool due = options_.checkpoint_every_steps > 0 && state_.step % options_.checkpoint_every_steps == 0;
      if (due) ENGRAM_RETURN_IF_ERROR(SaveCheckpoint());
    }
    const absl::Status ended = EndEpoch();
    // An evaluation is left where it is; a resumed run begins it again.
    if (absl::IsCancelled(ended) && Requested() != StopRequest::kNone) return Interrupt();
    ENGRAM_RETURN_IF_ERROR(ended);
  }
  return Finish();
}

// One optimizer step over the micro-batches of `batches`.
absl::Status Run::Step(std::span<const std::vector<int64_t>> batches) {
  const absl::Time start = input_.clock->Now();
  StepInfo info;
  info.step = state_.step;
  info.learning_rate = options_.lr * ScheduleFactor(options_.schedule, state_.step, warmup_steps_, total_steps_);
  const int64_t tokens_before = state_.tokens;
  double extra_loss = 0;
  ENGRAM_ASSIGN_OR_RETURN(const double loss, ForwardBackward(batches, info, extra_loss));
  const ParameterView view{parameters_.weights(), parameters_.gradients(), parameters_.slices()};
  ENGRAM_RETURN_IF_ERROR(strategy_.OnGradients(view, info));
  optimizer_->SetLearningRateScales(strategy_.LearningRateScales(info));
  const double norm = GradientNorm(parameters_, optimizer_->ranges());
  ENGRAM_RETURN_IF_ERROR(divergence_.Check(state_.step + 1, loss + extra_loss, norm));
  const double scale = ClipScale(norm, options_.max_grad_norm);
  ENGRAM_ASSIGN_OR_RETURN(const double added, strategy_.AfterClipping(view, info, scale));
  MeasurePenalties(norm * scale, added);
  const std::vector<double> values = optimizer_->Step(info.learning_rate, scale, penalties_);
  ENGRAM_ASSIGN_OR_RETURN(const bool changed, strategy_.AfterStep(view, info));
  if (changed) parameters_.RefreshCompute();
  WatchPenalties(values, info.learning_rate > 0 && norm > 0);
  ++state_.step;
  ++state_.step_in_epoch;
  last_evaluation_.reset();
  Progress progress;
  progress.loss = loss;
  progress.extra_loss = extra_loss;
  progress.penalty = std::accumulate(values.begin(), values.end(), added);
  progress.learning_rate = info.learning_rate;
  progress.gradient_norm = norm;
  Report(input_.clock->Now() - start, state_.tokens - tokens_before, progress);
  return absl::OkStatus();
}

// Leaves the gradient of the step's mean loss in the buffer; returns that loss.
absl::StatusOr<double> Run::ForwardBackward(std::span<const std::vector<int64_t>> batches, StepInfo& info,
                                            double& extra_loss) {
  std::vector<MicroBatch> micro_batches;
  int64_t units = 0;
  for (size_t i = 0; i < batches.size(); ++i) {
    const uint64_t number = static_cast<uint64_t>(state_.micro_batch) + i;
    ENGRAM_ASSIGN_OR_RETURN(MicroBatch batch, MakeMicroBatch(input_.task, data_.training(), batches[i], options_.seed,
                                                             number, parameters_.device()));
    units += batch.units;
    micro_batches.push_back(std::move(batch));
  }
  info.unit_weight = 1.0 / static_cast<double>(std::max<int64_t>(1, units));
  parameters_.ZeroGradients();
  nn::AccumulateSink sink(&parameters_);
  double loss = 0;
  for (MicroBatch& batch : micro_batches) {
    info.micro_batch = state_.micro_batch++;
    state_.tokens += batch.batch.tokens();
    if (batch.units == 0) continue;
    ENGRAM_RETURN_IF_ERROR(strategy_.OnTargets(batch));
    const nn::TrainingMode mode{options_.seed, static_cast<uint64_t>(info.micro_batch)};
    std::vector<nn::TaskQuery> queries{{input_.task.name, batch.rows}};
    const std::vector<nn::TaskQuery> further = strategy_.FurtherQueries(batch);
    queries.insert(queries.end(), further.begin(), further.end());
    const std::shared_ptr<nn::Tape> tape = nn::Model::NewTape();
    const std::vector<at::Tensor> logits = model_.Predict(batch.batch, queries, mode, tape.get());
    const PendingLoss pending(logits.front(), batch.targets, info.unit_weight, setup_.class_weights);
    std::vector<nn::HeadGradient> gradients;
    if (!further.empty()) {
      ENGRAM_ASSIGN_OR_RETURN(const double also,
                              strategy_.FurtherGradients(batch, std::span(logits).subspan(1), info, gradients));
      extra_loss += also;
      for (nn::HeadGradient& gradient : gradients) ++gradient.query;
    }
    gradients.insert(gradients.begin(), {0, pending.grad()});
    model_.Backward(gradients, std::move(*tape), sink);
    loss += pending.Sum();
    ENGRAM_ASSIGN_OR_RETURN(const double extra, strategy_.ExtraPasses(model_, batch, info, sink));
    extra_loss += extra;
  }
  state_.epoch_loss += loss;
  state_.epoch_units += units;
  return loss * info.unit_weight;
}

// A penalty that is still 0 although weights have moved protects nothing; the usual cause is an anchor that moves along
// with them.
void Run::WatchPenalties(const std::vector<double>& values, bool moved) {
  for (size_t p = 0; p < values.size(); ++p) {
    int64_t& dead = state_.dead_steps[p];
    if (penalties_[p].strength == 0 || dead < 0) continue;
    if (values[p] > 0) {
      dead = -1;
    } else if (moved && ++dead == kDeadPenaltySteps + 1) {
      // The value is that before the step, so the first moving step does not count.
      state_.dead_penalty = true;
      observer_.OnWarning(
          "DEAD_PENALTY",
          absl::StrCat("the penalty of \"", penalties_[p].name, "\" is still 0 after ", kDeadPenaltySteps,
                       " steps that moved weights: it protects nothing; consolidate that task again"));
    }
  }
}

// Before the step: what pulls back beside what the task wants, now and then.
void Run::MeasurePenalties(double task_norm, double added) {
  if (added > 0) state_.penalty_share = std::max(state_.penalty_share, 1.0);  // no gradient of it is at hand here
  if (penalties_.empty() || task_norm == 0 || !LooksAtPenalty(state_.step, total_steps_)) return;
  const double norm = PenaltyGradientNorm(parameters_.weights(), penalties_, optimizer_->ranges());
  state_.penalty_share = std::max(state_.penalty_share, norm / task_norm);
}

// A strength that is far too small, or importance that all but vanished.
void Run::WarnOfWeakPenalties() {
  const bool any = std::any_of(penalties_.begin(), penalties_.end(),
                               [](const QuadraticPenalty& penalty) { return penalty.strength > 0; });
  if (!any || state_.dead_penalty || state_.step <= kDeadPenaltySteps || state_.penalty_share >= kWeakPenaltyShare)
    return;
  observer_.OnWarning(
      "WEAK_PENALTY",
      absl::StrFormat(
          "the pull to earlier tasks was at most %.2g %% of this task's own gradient (under %g %%): they are "
          "all but unprotected; raise the strategy's strength, or consolidate them again if their "
          "importance is close to 0",
          100 * state_.penalty_share, 100 * kWeakPenaltyShare));
}

void Run::Report(absl::Duration took, int64_t tokens, Progress progress) {
  progress.epoch = state_.epoch + 1;
  progress.epochs = options_.epochs;
  progress.step = state_.step;
  progress.total_steps = total_steps_;
  progress.tokens = state_.tokens;
  meter_.Add(took, tokens, progress);
  if (state_.step % std::max<int64_t>(1, input_.progress_every_steps) != 0 && state_.step != total_steps_) return;
  meter_.Reported();
  observer_.OnProgress(progress);
}

absl::Status Run::SaveCheckpoint() {
  if (input_.checkpoint_path.empty()) return absl::OkStatus();
  RunCheckpoint checkpoint;
  checkpoint.fingerprint = fingerprint_;
  state_.divergence = divergence_.State();
  checkpoint.state = state_;
  checkpoint.weights = parameters_.weights();
  checkpoint.first_moment = optimizer_->first_moment();
  checkpoint.second_moment = optimizer_->second_moment();
  checkpoint.best_weights = best_weights_;
  ENGRAM_RETURN_IF_ERROR(strategy_.SaveState(checkpoint.strategy));
  ENGRAM_RETURN_IF_ERROR(WriteRunCheckpoint(input_.checkpoint_path, checkpoint));
  observer_.OnCheckpoint(state_.step);
  return absl::OkStatus();
}

absl::StatusOr<TrainResult> Run::Interrupt() {
  if (Requested() == StopRequest::kCancel) return absl::CancelledError("the job was cancelled");
  ENGRAM_RETURN_IF_ERROR(SaveCheckpoint());
  TrainResult result;
  result.outcome = TrainOutcome::kInterrupted;
  result.steps = state_.step;
  result.total_steps = total_steps_;
  result.tokens = state_.tokens;
  result.final_loss = state_.last_epoch_loss;
  result.resumed = resumed_;
  result.dead_penalty = state_.dead_penalty;
  result.penalty_share = state_.penalty_share;
  return result;
}

// A request of `cancelled_by` or above ends the evaluation with CANCELLED.
absl::StatusOr<Evaluation> Run::EvaluateNow(StopRequest cancelled_by) {
  EvaluateOptions options;
  options.seed = options_.seed;
  options.token_metric = input_.token_metric;
  options.clock = input_.clock;
  options.progress = [this, cancelled_by](int64_t, int64_t) { return Requested() < cancelled_by; };
  return Evaluate(model_, input_.task, data_.validation(), options);
}

bool Run::Better(const Evaluation& evaluation) const {
  if (!state_.has_best || evaluation.score != state_.best_score)
    return !state_.has_best || evaluation.score > state_.best_score;
  return evaluation.loss < state_.best_loss;
}

bool Run::OutOfPatience() const {
  return options_.early_stopping_patience > 0 && state_.evaluations_without_gain >= options_.early_stopping_patience;
}

// Closes the epoch: evaluation, and what early stopping counts.
absl::Status Run::EndEpoch() {
  if (!data_.validation().empty()) {
    ENGRAM_ASSIGN_OR_RETURN(Evaluation evaluation, EvaluateNow(StopRequest::kCheckpoint));
    const bool better = Better(evaluation);
    const bool stopping = options_.early_stopping_patience > 0;
    if (better) {
      state_.has_best = true;
      state_.best_score = evaluation.score;
      state_.best_loss = evaluation.loss;
      state_.best_epoch = state_.epoch + 1;
      state_.evaluations_without_gain = 0;
      if (stopping) best_weights_ = parameters_.weights().clone();
    } else {
      ++state_.evaluations_without_gain;
    }
    observer_.OnEvaluation(state_.epoch + 1, evaluation, better);
    last_evaluation_ = std::move(evaluation);
  }
  state_.last_epoch_loss = state_.epoch_loss / static_cast<double>(std::max<int64_t>(1, state_.epoch_units));
  state_.epoch_loss = 0;
  state_.epoch_units = 0;
  state_.step_in_epoch = 0;
  ++state_.epoch;
  return absl::OkStatus();
}

absl::StatusOr<TrainResult> Run::Finish() {
  TrainResult result;
  WarnOfWeakPenalties();
  if (best_weights_.defined() && state_.evaluations_without_gain > 0) {
    parameters_.weights().copy_(best_weights_);
    parameters_.RefreshCompute();
    last_evaluation_.reset();
  }
  ENGRAM_ASSIGN_OR_RETURN(const bool changed, strategy_.AfterTraining(setup_));
  if (changed) {
    parameters_.RefreshCompute();
    last_evaluation_.reset();
  }
  const double largest =
      at::linalg_vector_norm(parameters_.weights(), std::numeric_limits<double>::infinity()).item<double>();
  ENGRAM_RETURN_IF_ERROR(CheckLastWeights(state_.step, largest));
  if (!data_.validation().empty() && !last_evaluation_) {
    // All steps are done: a request for a checkpoint comes too late, what is left is a moment's work.
    ENGRAM_ASSIGN_OR_RETURN(last_evaluation_, EvaluateNow(StopRequest::kCancel));
  }
  if (input_.measure) {
    const absl::Status measured = input_.measure();
    if (absl::IsCancelled(measured) && Requested() != StopRequest::kNone) return Interrupt();
    ENGRAM_RETURN_IF_ERROR(measured);
  }
  ENGRAM_RETURN_IF_ERROR(strategy_.EndTask(setup_, result.memory));
  result.outcome = state_.step < total_steps_ ? TrainOutcome::kStoppedEarly : TrainOutcome::kCompleted;
  result.steps = state_.step;
  result.total_steps = total_steps_;
  result.tokens = state_.tokens;
  result.final_loss = state_.last_epoch_loss;
  result.validation = std::move(last_evaluation_);
  result.best_epoch = state_.best_epoch;
  result.resumed = resumed_;
  result.dead_penalty = state_.dead_penalty;
  result.penalty_share = state_.penalty_share;
  return result;
}

}  // namespace

absl::StatusOr<TrainResult> Train(nn::Model& model, const TrainOptions& options, const TrainInput& input) {
  const c10::NoGradGuard no_autograd;
  Run run(model, options, input);
  const absl::Status prepared = run.Prepare();
  if (absl::IsCancelled(prepared) && run.Requested() == StopRequest::kCheckpoint) {
    TrainResult result;  // nothing to go on from: the run begins again
    result.outcome = TrainOutcome::kInterrupted;
    return result;
  }
  ENGRAM_RETURN_IF_ERROR(prepared);
  return run.Loop();
}

}  // namespace engram::train
