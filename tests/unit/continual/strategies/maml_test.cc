// The gradients of `fomaml` and `maml` against loops over single texts, and the latter against differences of the loss that
// it is the gradient of.

#include "ATen/TensorOperators.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/zeros.h"
#include "tests/unit/continual/strategy_probe.h"

namespace engram::continual {
namespace {

constexpr double kInnerRate = 0.5;

class Maml : public StrategyProbe {
 protected:
  const std::vector<train::TrainingExample> a_ = TinyExamples(4, kLabels, 1), b_ = TinyExamples(16, kLabels, 9);

  static std::unique_ptr<nn::Model> NewModel() { return TinyModel({"a", "b"}, kLabels, /*dropout=*/0); }

  static double LossOf(nn::Model& model, const std::string& task, const train::TrainingExample& example) {
    const auto batch = *train::MakeMicroBatch(TinyTask(task, kLabels), std::span(&example, 1), std::vector<int64_t>{0},
                                              0, 0, at::kCPU);
    const at::Tensor logits = model.Predict(batch.batch, {task, at::Tensor()}, std::nullopt, nullptr);
    const at::Tensor exact = logits.to(at::kDouble)[0];
    return (exact.exp().sum().log() - exact[example.label]).item<double>();
  }
  // The gradient of the mean loss over the step's 8 texts, over the encoder and the head of b, as everywhere.
  at::Tensor SupportGradient(nn::Model& model) const {
    at::Tensor gradient = at::zeros({model.parameters().size()}, at::kDouble);
    for (int i = 0; i < 8; ++i) gradient += GradientOf(model, "b", b_[i]) / 8;
    return gradient;
  }
  // What the step's loss is at `weights`, fp64: 8 texts of b, and the 4 that are held after a step on b.
  double Objective(const at::Tensor& weights) const {
    const auto model = NewModel();
    model->parameters().weights().copy_(weights);
    double loss = 0;
    for (int i = 0; i < 8; ++i) loss += LossOf(*model, "b", b_[i]);
    model->parameters().weights().copy_(weights - kInnerRate * SupportGradient(*model));
    for (const train::TrainingExample& held : a_) loss += LossOf(*model, "a", held);
    return loss / 12;
  }

  // The first step's gradient as the strategy left it; every text that is held is drawn.
  at::Tensor FirstGradient(const std::string& name, int64_t accumulation = 1, double rate = kInnerRate) {
    const Options meta = {{"inner_rate", absl::StrCat(rate)}};
    const auto strategy = Make(name, name == "er" ? Options{} : meta, Held({{"a", a_}}));
    Recorder recorder(*strategy);
    train::TrainOptions options = RunOptions();
    options.accumulation = accumulation;
    options.batch_size = 8 / accumulation;
    const auto model = NewModel();
    const auto result = train::Train(*model, options, Input("b", b_, &recorder));
    EXPECT_TRUE(result.ok()) << result.status();
    return recorder.steps[0].used;
  }
};

TEST_F(Maml, TheFirstOrderIsTheGradientOfWhatIsHeldAfterAStepOnTheTask) {
  const auto model = NewModel();
  const at::Tensor support = SupportGradient(*model);
  at::Tensor expected = 8 * support;
  model->parameters().weights().copy_(model->parameters().weights() - kInnerRate * support);
  for (const train::TrainingExample& held : a_) expected += GradientOf(*model, "a", held);
  expected /= 12;
  for (const int64_t accumulation : {1, 2}) {
    const at::Tensor used = FirstGradient("fomaml", accumulation);
    EXPECT_LT((used - expected).abs().max().item<double>(), 1e-5 * expected.abs().max().item<double>()) << accumulation;
  }
  EXPECT_GT((FirstGradient("er", 1) - expected).abs().max().item<double>(), 1e-3 * expected.abs().max().item<double>());
}

// Along the direction in which the two orders differ most, where leaving the curvature out is far off.
TEST_F(Maml, TheSecondOrderIsTheDerivativeOfTheWholeStep) {
  const at::Tensor first = FirstGradient("fomaml");
  for (const int64_t accumulation : {1, 2}) {
    const at::Tensor second = FirstGradient("maml", accumulation);
    at::Tensor direction = second - first;
    const double difference = direction.norm().item<double>();
    ASSERT_GT(difference, 1e-2 * first.norm().item<double>());
    direction = direction / difference;
    const at::Tensor start = NewModel()->parameters().weights().to(at::kDouble);
    constexpr double kStep = 2e-3;
    const double slope = (Objective(start + kStep * direction) - Objective(start - kStep * direction)) / (2 * kStep);
    EXPECT_NEAR((second * direction).sum().item<double>(), slope, 0.05 * difference) << accumulation;
  }
}

TEST_F(Maml, WithoutAStepBothAreReplay) {
  const at::Tensor replay = FirstGradient("er");
  for (const char* name : {"fomaml", "maml"}) {
    EXPECT_LT((FirstGradient(name, 1, 0) - replay).abs().max().item<double>(),
              1e-6 * replay.abs().max().item<double>());
  }
}

// The weights are those of before, to the bit, once the gradient is made; the first task of a line is learned plainly.
TEST_F(Maml, LeavesTheWeightsToTheOptimizer) {
  struct Watch final : Forwarding {
    using Forwarding::Forwarding;
    absl::Status OnGradients(const train::ParameterView& view, const train::StepInfo& info) override {
      const at::Tensor before = view.weights.clone();
      const absl::Status status = Forwarding::OnGradients(view, info);
      same = same && at::equal(before, view.weights);
      return status;
    }
    bool same = true;
  };
  for (const char* name : {"fomaml", "maml"}) {
    const auto strategy = Make(name, {}, Held({{"a", a_}})), alone = Make(name, {}, {});
    Watch watch(*strategy);
    ASSERT_TRUE(train::Train(*TinyModel({"a", "b"}, kLabels), RunOptions(), Input("b", b_, &watch)).ok());
    EXPECT_TRUE(watch.same) << name;
    const auto first = TinyModel({"b"}, kLabels), naive = TinyModel({"b"}, kLabels);
    ASSERT_TRUE(train::Train(*first, RunOptions(), Input("b", b_, alone.get())).ok());
    ASSERT_TRUE(train::Train(*naive, RunOptions(), Input("b", b_, nullptr)).ok());
    EXPECT_TRUE(at::equal(first->parameters().weights(), naive->parameters().weights())) << name;
  }
}

TEST_F(Maml, TheSecondOrderRefusesBf16) {
  const auto strategy = Make("maml", {}, Held({{"a", a_}}));
  const auto model = TinyModel({"a", "b"}, kLabels, 0, nn::Precision::kBFloat16);
  EXPECT_EQ(StatusReason(train::Train(*model, RunOptions(), Input("b", b_, strategy.get())).status()),
            "PRECISION_TOO_LOW");
}

TEST_F(Maml, TheFirstOrderResumesToTheBitInMidTask) {
  ExpectResumesToTheBit("fomaml", {}, Held({{"a", a_}}), b_, {1, 3});
}

TEST_F(Maml, TheSecondOrderResumesToTheBitInMidTask) {
  ExpectResumesToTheBit("maml", {}, Held({{"a", a_}}), b_, {1, 3});
}

}  // namespace
}  // namespace engram::continual
