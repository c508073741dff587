// Model-agnostic meta-learning (Finn, Abbeel and Levine, ICML 2017) on a stream of tasks: a batch B of the task is the
// support set, kept examples M of earlier tasks are the query set, and a step is asked to be one from which a plain step
// of gradient descent on the task does not harm what is kept (as OML and La-MAML have it: Javed and White, NeurIPS 2019;
// Gupta, Yadav and Paull, NeurIPS 2020). The gradient is that of the mean over the union of
//   sum_B l(theta) + sum_M l(theta'),   theta' = theta - inner_rate g,   g = grad L_B(theta), L_B the mean over B
// The task's own loss counts, too, since each of its batches is seen for its own sake (as in MLDG, Li et al., AAAI 2018).
//   fomaml   theta' counts as independent of theta: the second sum gives q = sum_M grad l(theta')
//   maml     the whole derivative, q - inner_rate H q, H the Hessian of L_B at theta. H q is the central difference of
//            grad L_B over theta +- r q / |q| with the same dropout masks, r = 1e-2 (as Liu, Simonyan and Yang, "DARTS",
//            ICLR 2019): no graph of the backward pass is kept, so that memory does not grow; fp32 only
// With inner_rate = 0 both are experience replay. Masked language models are not replayed.

#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/linalg_vector_norm.h"
#include "core/continual/union_replay.h"
#include "core/train/adamw.h"
#include "core/train/replay.h"

namespace engram::continual {
namespace {

constexpr double kDifference = 1e-2;  // length of the step that curvature is taken over

class MetaReplay final : public train::Strategy {
 public:
  MetaReplay(std::string name, const OptionValues& options, train::MemorySource source, bool second_order)
      : name_(std::move(name)),
        second_order_(second_order),
        inner_rate_(options.Real("inner_rate")),
        batch_(options.Whole("replay_batch")),
        memory_(MakeMemory(options, std::move(source))) {}

  std::string_view name() const override { return name_; }

  absl::Status BeginTask(train::TaskSetup& setup) override {
    ENGRAM_RETURN_IF_ERROR(memory_.Recall(setup));
    setup_ = &setup;
    if (memory_.held().empty()) return absl::OkStatus();
    if (second_order_ && setup.model.parameters().precision() != nn::Precision::kFloat32) {
      return StatusWithReason(
          absl::StatusCode::kFailedPrecondition, "PRECISION_TOO_LOW",
          "maml takes differences of gradients, which bf16 rounds away: set precision=fp32, or take fomaml");
    }
    own_ = train::RangesOf(setup.model.parameters(), setup.trainable);
    memory_.TrainHeads(setup);
    query_.emplace(setup.model.parameters());
    if (second_order_) support_.emplace(setup.model.parameters());
    return absl::OkStatus();
  }

  absl::StatusOr<double> ExtraPasses(nn::Model&, const train::MicroBatch& batch, const train::StepInfo& info,
                                     nn::GradientSink&) override {
    if (support_) support_batches_.push_back({batch, info.micro_batch});
    return 0.0;
  }

  absl::Status OnGradients(const train::ParameterView& view, const train::StepInfo& info) override {
    const std::vector<train::StoredExample>& held = memory_.held();
    if (held.empty()) return absl::OkStatus();
    const at::Tensor start = view.weights.clone();
    Move(start, view.gradients, -inner_rate_);
    query_->Zero();
    nn::AccumulateSink sink(&*query_);
    const auto loss = train::AddReplayGradient(
        setup_->model, held, train::DrawStored(static_cast<int64_t>(held.size()), batch_, setup_->seed, info.step),
        info.unit_weight, setup_->seed, info.step, sink);
    Move(start, view.gradients, 0);
    ENGRAM_RETURN_IF_ERROR(loss.status());
    view.gradients.add_(query_->flat());
    if (second_order_) AddCurvature(start, view, info);
    support_batches_.clear();
    view.gradients.div_(1 + info.unit_weight * static_cast<double>(loss->units));
    return absl::OkStatus();
  }

  absl::Status EndTask(const train::TaskSetup& setup, train::VersionMemory& memory) override {
    memory_.Remember(setup, memory);
    return absl::OkStatus();
  }

 private:
  struct SupportBatch {
    train::MicroBatch batch;
    int64_t number = 0;  // keys dropout
  };

  static at::Tensor Part(const at::Tensor& flat, const train::ElementRange& range) {
    return flat.narrow(0, range.begin, range.end - range.begin);
  }

  // The weights become start + rate * direction over what the task itself trains; with rate = 0 `start` to the bit.
  void Move(const at::Tensor& start, const at::Tensor& direction, double rate) {
    nn::ParameterBuffer& parameters = setup_->model.parameters();
    at::Tensor weights = parameters.weights();
    weights.copy_(start);
    if (rate != 0) {
      for (const train::ElementRange& range : own_) Part(weights, range).add_(Part(direction, range), rate);
    }
    parameters.RefreshCompute();
  }

  // Subtracts inner_rate H q, q as it stands in query_.
  void AddCurvature(const at::Tensor& start, const train::ParameterView& view, const train::StepInfo& info) {
    double square = 0;
    for (const train::ElementRange& range : own_) {
      const double norm = at::linalg_vector_norm(Part(query_->flat(), range)).item<double>();
      square += norm * norm;
    }
    if (square == 0 || inner_rate_ == 0) return;
    const double length = kDifference / std::sqrt(square);
    for (const double sign : {1.0, -1.0}) {
      Move(start, query_->flat(), sign * length);
      support_->Zero();
      nn::AccumulateSink sink(&*support_);
      for (const SupportBatch& support : support_batches_) AddSupportGradient(support, info.unit_weight, sink);
      for (const train::ElementRange& range : own_) {
        Part(view.gradients, range).add_(Part(support_->flat(), range), -sign * inner_rate_ / (2 * length));
      }
    }
    Move(start, query_->flat(), 0);
  }

  void AddSupportGradient(const SupportBatch& support, double weight, nn::GradientSink& sink) {
    const nn::TrainingMode mode{setup_->seed, static_cast<uint64_t>(support.number)};
    const auto tape = nn::Model::NewTape();
    const at::Tensor logits =
        setup_->model.Predict(support.batch.batch, {setup_->task, support.batch.rows}, mode, tape.get());
    setup_->model.Backward(train::CrossEntropyLoss(logits, support.batch.targets, weight, setup_->class_weights).grad,
                           *tape, sink);
  }

  const std::string name_;
  const bool second_order_;
  const double inner_rate_;
  const int64_t batch_;
  train::ExampleMemory memory_;
  train::TaskSetup* setup_ = nullptr;
  std::vector<train::ElementRange> own_;  // what the task itself trains
  std::optional<nn::GradientBuffer> query_, support_;
  std::vector<SupportBatch> support_batches_;  // of the optimizer step that is being made
};

template <bool kSecondOrder>
absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs inputs) {
  return std::make_unique<MetaReplay>(info.name, options, std::move(inputs.memory), kSecondOrder);
}

// The stored texts; the query gradient, for a step the weights, and for the second order the support gradient; a batch
// of the memory beside each batch, and two more passes over the batch for the second order.
template <bool kSecondOrder>
StrategyCost Cost(const OptionValues&, const StrategySizes& sizes) {
  StrategyCost cost = BatchReplayCost(sizes);
  if (sizes.stored_examples == 0) return cost;
  cost.bytes += (kSecondOrder ? 2 : 1) * sizes.encoder_bytes;
  if (kSecondOrder) cost.extra_passes += 2;
  return cost;
}

OptionTable Options() {
  std::vector<Option> options = MemoryOptions();
  options.push_back(Option::Whole("replay_batch", 32, Closed(1, 4096), "texts replayed with each step"));
  options.push_back(Option::Real("inner_rate", 0.01, Closed(0, 10),
                                 "length of the step on the task after which what is replayed is asked; 0: er"));
  return OptionTable(std::move(options));
}

const StrategyRegistration kFirstOrder(
    {.name = "fomaml",
     .summary = "replay after a trial step on the task, first order; stores texts with the version",
     .options = Options(),
     .needs = {.examples = true, .memory = true},
     .grows_heads = true,
     .cost = Cost<false>},
    Make<false>);
const StrategyRegistration kSecondOrder(
    {.name = "maml",
     .summary = "replay after a trial step on the task, with how that step turns; stores texts with the version",
     .options = Options(),
     .needs = {.examples = true, .memory = true},
     .grows_heads = true,
     .cost = Cost<true>},
    Make<true>);

}  // namespace
}  // namespace engram::continual
