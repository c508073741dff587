// Learning without forgetting (Li & Hoiem, ECCV 2016): on the new task's texts, the heads of earlier tasks go on
// answering as the model did before the task. To the task's loss comes, for each earlier head,
//   alpha T^2 mean over rows of KL(softmax(z_before / T) || softmax(z / T))
// rows being texts, or tokens of a tagging head. A classifier that gets further labels is such a head itself, z being the
// logits of the labels that it had (Rebuffi et al., "iCaRL", CVPR 2017, compare it so). No text is kept. The earlier heads learn along; heads of masked language
// models are left as they are. The student's answers come from the pass that learns the task; the teacher, a copy of the
// model from before, takes one forward pass of its own without dropout, whatever the number of heads.

#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/log_softmax.h"
#include "ATen/ops/zeros_like.h"
#include "core/continual/registry.h"

namespace engram::continual {
namespace {

class LearningWithoutForgetting final : public train::Strategy {
 public:
  LearningWithoutForgetting(std::string name, const OptionValues& options)
      : name_(std::move(name)), alpha_(options.Real("alpha")), temperature_(options.Real("temperature")) {}

  std::string_view name() const override { return name_; }

  absl::Status BeginTask(train::TaskSetup& setup) override {
    if (alpha_ == 0) return absl::OkStatus();
    for (const auto& [task, head] : setup.model.heads()) {
      const bool own = task == setup.task;
      if (head.kind == checkpoint::TaskKind::kMaskedLanguageModel) continue;
      if (own && (!setup.grows() || head.kind != checkpoint::TaskKind::kSequenceClassification)) continue;
      queries_.push_back({task, at::Tensor()});
      labels_.push_back(own ? setup.known_labels : head.labels);
      if (own) continue;
      for (const nn::SlotId slot : setup.model.HeadSlots(task)) setup.trainable.push_back(slot);
    }
    if (!queries_.empty()) teacher_ = setup.Frozen();
    return absl::OkStatus();
  }

  std::vector<nn::TaskQuery> FurtherQueries(const train::MicroBatch& /*batch*/) override { return queries_; }

  absl::StatusOr<double> FurtherGradients(const train::MicroBatch& batch, std::span<const at::Tensor> logits,
                                          const train::StepInfo& info,
                                          std::vector<nn::HeadGradient>& gradients) override {
    const std::vector<at::Tensor> before = teacher_->Predict(batch.batch, queries_, std::nullopt, nullptr);
    // Of the step's mean, this micro-batch has the share of its units.
    const double share = info.unit_weight * static_cast<double>(batch.units);
    double loss = 0;
    for (size_t i = 0; i < queries_.size(); ++i) {
      const double weight = alpha_ * share / static_cast<double>(logits[i].size(0));
      const at::Tensor target = at::log_softmax(before[i].narrow(1, 0, labels_[i]) / temperature_, 1),
                       answer = at::log_softmax(logits[i].narrow(1, 0, labels_[i]) / temperature_, 1), p = target.exp();
      loss += weight * temperature_ * temperature_ * (p * (target - answer)).sum(at::kDouble).item<double>();
      at::Tensor gradient = at::zeros_like(logits[i]);
      gradient.narrow(1, 0, labels_[i]).copy_((answer.exp() - p).mul_(weight * temperature_));
      gradients.push_back({i, std::move(gradient)});
    }
    return loss;
  }

 private:
  const std::string name_;
  const double alpha_, temperature_;
  std::vector<nn::TaskQuery> queries_;  // the earlier heads
  std::vector<int64_t> labels_;         // of each, those that it had
  std::shared_ptr<const nn::Model> teacher_;
};

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs) {
  return std::make_unique<LearningWithoutForgetting>(info.name, options);
}

// The teacher, and its forward pass.
StrategyCost Cost(const OptionValues&, const StrategySizes& sizes) {
  return {.bytes = sizes.encoder_bytes, .extra_passes = 1.0 / 3};
}

const StrategyRegistration kRegistration(
    {.name = "lwf",
     .summary = "earlier heads go on answering as before on the new task's texts; keeps no text",
     .options = OptionTable({Option::Real("alpha", 1, Closed(0, 1e6), "weight of the earlier heads' losses; 0: none"),
                             Option::Real("temperature", 2, LeftOpen(0, 100), "T, which both answers are divided by")}),
     .needs = {.teacher = true},
     .strength = {"alpha"},
     .grows_heads = true,
     .cost = Cost,
     .role = StrategyRole::kDistils},
    Make);

}  // namespace
}  // namespace engram::continual
