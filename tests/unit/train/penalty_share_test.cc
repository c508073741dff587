#include "core/train/penalty_share.h"

#include <algorithm>
#include <cmath>

#include "ATen/ops/tensor.h"
#include "core/train/trainer.h"
#include "tests/unit/tiny_model.h"

namespace engram::train {
namespace {

at::Tensor Floats(std::initializer_list<double> values) { return at::tensor(values, at::kDouble).to(at::kFloat); }

TEST(PenaltyShare, EightStepsAreLookedAtAndTheLastAmongThem) {
  for (const int64_t total : {1, 5, 8, 9, 100, 1001}) {
    int64_t looks = 0;
    for (int64_t step = 0; step < total; ++step) looks += LooksAtPenalty(step, total) ? 1 : 0;
    EXPECT_EQ(looks, std::min<int64_t>(total, 8)) << total;
    EXPECT_TRUE(LooksAtPenalty(total - 1, total)) << total;
  }
}

// Two penalties that overlap pull together before the norm is taken; what is frozen does not count.
TEST(PenaltyShare, TheNormIsThatOfTheSumOverWhatTrains) {
  const at::Tensor weights = Floats({1, 2, 3, 4, 5});
  QuadraticPenalty first, second, off;
  first.begin = 0;
  first.end = 4;
  first.importance = Floats({1, 2, 0.5, 1});
  first.anchor = Floats({0, 1, 5, 4});
  first.strength = 2;  // 2, 4, -2, 0
  second.begin = 1;
  second.end = 5;
  second.importance = Floats({1, 1, 1, 1});
  second.anchor = Floats({3, 3, 3, 3});
  second.strength = 3;  // of elements 1 to 4: -3, 0, 3, 6
  off = second;
  off.strength = 0;
  const std::vector<QuadraticPenalty> penalties = {first, second, off};
  const std::vector<nn::ops::ElementRange> all = {{0, 5, true}}, parts = {{0, 2, true}, {4, 5, false}};
  EXPECT_NEAR(PenaltyGradientNorm(weights, penalties, all), std::sqrt(4 + 1 + 4 + 9 + 36), 1e-6);
  EXPECT_NEAR(PenaltyGradientNorm(weights, penalties, parts), std::sqrt(4 + 1 + 36), 1e-6);
  EXPECT_EQ(PenaltyGradientNorm(weights, {}, all), 0);
}

constexpr double kClipped = 0.01;  // all gradients are longer

// Pulls to where the run began, with importance 1.
class Pull final : public Strategy {
 public:
  explicit Pull(double strength) { penalty_.strength = strength; }
  std::string_view name() const override { return "pull"; }
  absl::Status BeginTask(TaskSetup& setup) override {
    penalty_.name = "earlier";
    penalty_.end = setup.model.EncoderElements();
    penalty_.anchor = setup.model.parameters().weights().narrow(0, 0, penalty_.end).clone();
    penalty_.importance = at::ones_like(penalty_.anchor);
    return absl::OkStatus();
  }
  std::vector<QuadraticPenalty> Penalties() override { return {penalty_}; }
  // What the trainer should find, from the gradients that it clips itself.
  absl::Status OnGradients(const ParameterView& view, const StepInfo&) override {
    const double gradient = view.gradients.to(at::kDouble).norm().item<double>();
    EXPECT_GT(gradient, kClipped);
    const at::Tensor away = view.weights.narrow(0, 0, penalty_.end) - penalty_.anchor;
    shares.push_back(penalty_.strength * away.to(at::kDouble).norm().item<double>() / kClipped);
    return absl::OkStatus();
  }
  // Half-way the weights are set back, so that the largest pull is none of the end.
  absl::StatusOr<bool> AfterStep(const ParameterView& view, const StepInfo& info) override {
    if (info.step != 4) return false;
    view.weights.narrow(0, 0, penalty_.end).copy_(penalty_.anchor);
    return true;
  }
  std::vector<double> shares;

 private:
  QuadraticPenalty penalty_;
};

struct Watch final : TrainObserver {
  void OnWarning(std::string_view reason, std::string_view) override { reasons.emplace_back(reason); }
  std::vector<std::string> reasons;
};

struct Trained {
  std::vector<std::string> reasons;
  double share = 0;
  std::vector<double> shares;
};

Trained Learn(double strength, int64_t epochs) {
  const auto examples = TinyExamples(40, 3, 1);
  TrainOptions options;
  options.lr = 1e-3;
  options.epochs = epochs;
  options.batch_size = 10;
  options.max_grad_norm = kClipped;
  Pull strategy(strength);
  Watch watch;
  TrainInput input;
  input.task = TinyTask("a", 3);
  input.training = examples;
  input.strategy = &strategy;
  input.observer = &watch;
  const auto model = TinyModel({"a"}, 3);
  const auto result = Train(*model, options, input);
  EXPECT_TRUE(result.ok()) << result.status();
  return {watch.reasons, result->penalty_share, strategy.shares};
}

TEST(PenaltyShare, AWeakPullIsSaid) {
  const Trained weak = Learn(1e-8, 4), strong = Learn(10, 4);
  EXPECT_EQ(weak.reasons, std::vector<std::string>{"WEAK_PENALTY"});
  EXPECT_TRUE(strong.reasons.empty());
  EXPECT_GT(weak.share, 0);
  EXPECT_LT(weak.share, kWeakPenaltyShare);
  EXPECT_GT(strong.share, kWeakPenaltyShare);
  EXPECT_TRUE(Learn(0, 4).reasons.empty()) << "what is turned off is not weak";
  EXPECT_TRUE(Learn(1e-8, 1).reasons.empty()) << "four steps say nothing";
}

// With as many steps as are looked at it is the largest of all of them.
TEST(PenaltyShare, IsThePullOverTheClippedGradient) {
  const Trained run = Learn(0.5, 2);  // eight steps
  const double largest = *std::max_element(run.shares.begin(), run.shares.end());
  EXPECT_NEAR(run.share, largest, 1e-4 * largest);
  EXPECT_LT(run.shares.back(), 0.9 * largest) << "the last one would do";
}

}  // namespace
}  // namespace engram::train
