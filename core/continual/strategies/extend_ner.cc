// New entity types on top of old ones (Monaikul et al., "Continual Learning for Named Entity Recognition", AAAI 2021). The
// texts of the new types call the old entities O; a tagger that learns this forgets them. So where the data says nothing
// (its tag is O), the tagger as it was before says what the word is, over the tags that it had:
//   targets=soft (ExtendNER)      alpha T^2 KL(softmax(z_before / T), 0 for the new tags || softmax(z / T))
//   targets=hard (self-training)  alpha times the cross-entropy with its most probable tag, where that has at least
//                                 `confidence`; O where it has less
// in the place of the cross-entropy with O. Words that the data tags are learned as ever. With alpha = 1 and T = 1 each
// word has the weight that it has without the strategy. A tagger that gets no new types, and every other task, is learned
// plainly. No text is kept; the teacher is a copy of the model from before and takes one forward pass without dropout.

#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/full_like.h"
#include "ATen/ops/log_softmax.h"
#include "ATen/ops/softmax.h"
#include "ATen/ops/where.h"
#include "ATen/ops/zeros_like.h"
#include "core/continual/registry.h"
#include "core/nn/ops/cross_entropy/cross_entropy.h"

namespace engram::continual {
namespace {

constexpr const char *kSoft = "soft", *kHard = "hard";

class ExtendNer final : public train::Strategy {
 public:
  ExtendNer(std::string name, const OptionValues& options)
      : name_(std::move(name)),
        hard_(options.Text("targets") == kHard),
        alpha_(options.Real("alpha")),
        temperature_(options.Real("temperature")),
        confidence_(options.Real("confidence")) {}

  std::string_view name() const override { return name_; }

  absl::Status BeginTask(train::TaskSetup& setup) override {
    if (setup.known_labels == 0 || setup.outside < 0) return absl::OkStatus();
    query_ = {setup.task, at::Tensor()};
    known_ = setup.known_labels;
    outside_ = setup.outside;
    if (setup.class_weights.defined()) word_weight_ = setup.class_weights[outside_].item<double>();
    earlier_ = setup.Frozen();
    return absl::OkStatus();
  }

  // Takes the words that the data calls O out of the task's own loss: they are learned in FurtherGradients.
  absl::Status OnTargets(train::MicroBatch& batch) override {
    if (earlier_ == nullptr) return absl::OkStatus();
    silent_ = batch.targets.eq(outside_);
    batch.targets = batch.targets.masked_fill(silent_, nn::ops::kIgnored);
    return absl::OkStatus();
  }

  // The task's own head once more.
  std::vector<nn::TaskQuery> FurtherQueries(const train::MicroBatch& /*batch*/) override {
    if (earlier_ == nullptr) return {};
    return {query_};
  }

  absl::StatusOr<double> FurtherGradients(const train::MicroBatch& batch, std::span<const at::Tensor> logits,
                                          const train::StepInfo& info,
                                          std::vector<nn::HeadGradient>& gradients) override {
    const at::Tensor before = earlier_->Predict(batch.batch, query_, std::nullopt, nullptr).narrow(1, 0, known_);
    const double temperature = hard_ ? 1 : temperature_;
    at::Tensor target = at::zeros_like(logits[0]);
    target.narrow(1, 0, known_).copy_(hard_ ? MostProbable(before) : at::softmax(before / temperature, 1));
    const at::Tensor answer = at::log_softmax(logits[0] / temperature, 1), silent = silent_.unsqueeze(1);
    // p log p is 0 where p is: the new tags, and all but one of the hard targets.
    const at::Tensor entropy = at::where(target.gt(0), target * target.log(), 0.0);
    const double weight = alpha_ * word_weight_ * info.unit_weight;
    const at::Tensor divergence = at::where(silent, entropy - target * answer, 0.0);
    gradients.push_back({0, at::where(silent, answer.exp() - target, 0.0).mul_(weight * temperature)});
    return weight * temperature * temperature * divergence.sum(at::kDouble).item<double>();
  }

 private:
  // One-hot rows.
  at::Tensor MostProbable(const at::Tensor& before) const {
    const auto [highest, tag] = at::softmax(before, 1).max(1);
    const at::Tensor chosen = at::where(highest.ge(confidence_), tag, at::full_like(tag, outside_));
    return at::zeros_like(before).scatter_(1, chosen.unsqueeze(1), 1.0);
  }

  const std::string name_;
  const bool hard_;
  const double alpha_, temperature_, confidence_;
  nn::TaskQuery query_;
  int64_t known_ = 0, outside_ = -1;
  double word_weight_ = 1;                    // class weight of O
  std::shared_ptr<const nn::Model> earlier_;  // null: nothing is to be kept
  at::Tensor silent_;                         // bool [T]: words of the present batch that the data calls O
};

absl::StatusOr<std::unique_ptr<train::Strategy>> Make(const StrategyInfo& info, const OptionValues& options,
                                                      StrategyInputs) {
  return std::make_unique<ExtendNer>(info.name, options);
}

// The teacher, and its forward pass.
StrategyCost Cost(const OptionValues&, const StrategySizes& sizes) {
  if (sizes.known_labels == 0 || sizes.known_labels == sizes.labels) return {};
  return {.bytes = sizes.encoder_bytes, .extra_passes = 1.0 / 3};
}

const StrategyRegistration kRegistration(
    {.name = "extend_ner",
     .summary =
         "a tagger that gets new entity types goes on finding the old ones, which the new texts call O; keeps no text",
     .options = OptionTable(
         {Option::Choice("targets", kSoft, {kSoft, kHard},
                         "what such words are taught: soft: the earlier tagger's probabilities; hard: its answer"),
          Option::Real("alpha", 1, LeftOpen(0, 1e6), "weight of words that the data calls O"),
          Option::Real("temperature", 2, LeftOpen(0, 100), "T of soft targets, which both answers are divided by"),
          Option::Real("confidence", 0, Closed(0, 1),
                       "of hard targets: the probability below which the earlier tagger's answer is taken as O")}),
     .needs = {.teacher = true},
     .cost = Cost},
    Make);

}  // namespace
}  // namespace engram::continual
