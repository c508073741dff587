#include <cmath>

#include "ATen/ops/zeros_like.h"
#include "core/nn/grow_head.h"
#include "tests/unit/continual/strategy_probe.h"

namespace engram::continual {
namespace {

class Lwf : public StrategyProbe {
 protected:
  const std::vector<train::TrainingExample> b_ = TinyExamples(40, kLabels, 9);

  // T^2 KL(softmax(before / T) || softmax(now / T)) in fp64.
  static double Loss(const std::vector<double>& before, const std::vector<double>& now, double temperature) {
    const auto softmax = [&](const std::vector<double>& z) {
      std::vector<double> p;
      double sum = 0;
      for (const double value : z) sum += std::exp(value / temperature);
      for (const double value : z) p.push_back(std::exp(value / temperature) / sum);
      return p;
    };
    const std::vector<double> p = softmax(before), q = softmax(now);
    double loss = 0;
    for (size_t c = 0; c < p.size(); ++c) loss += p[c] * std::log(p[c] / q[c]);
    return temperature * temperature * loss;
  }
  static std::vector<double> Row(const at::Tensor& logits) {
    const at::Tensor row = logits.to(at::kDouble).contiguous();
    return {row.const_data_ptr<double>(), row.const_data_ptr<double>() + row.numel()};
  }

  // The gradient of the loss on one text of one earlier head; its slope in each logit by differences.
  static at::Tensor GradientOfLoss(nn::Model& model, const nn::Model& before, const std::string& task,
                                   const train::TrainingExample& text, double temperature, double& loss,
                                   size_t labels = kLabels) {
    const auto batch = *nn::Pack(std::span(&text.sequence, 1), at::kCPU);
    const auto tape = nn::Model::NewTape();
    const at::Tensor logits = model.Predict(batch, {task, at::Tensor()}, std::nullopt, tape.get());
    std::vector<double> then = Row(before.Predict(batch, {task, at::Tensor()}, std::nullopt, nullptr));
    std::vector<double> now = Row(logits);
    then.resize(labels);
    now.resize(labels);
    loss += Loss(then, now, temperature);
    at::Tensor slope = at::zeros_like(logits);
    for (size_t c = 0; c < now.size(); ++c) {
      std::vector<double> above = now, below = now;
      above[c] += 1e-5;
      below[c] -= 1e-5;
      slope[0][static_cast<int64_t>(c)] = (Loss(then, above, temperature) - Loss(then, below, temperature)) / 2e-5;
    }
    nn::GradientBuffer own(model.parameters());
    nn::AccumulateSink sink(&own);
    model.Backward(slope, *tape, sink);
    return own.flat().to(at::kDouble);
  }
};

// Two micro-batches in a step: each has its share of the mean.
TEST_F(Lwf, TheGradientIsThatOfTheTaskAndOfEveryEarlierHeadsAnswers) {
  const auto strategy = Make("lwf", {{"alpha", "1.5"}, {"temperature", "3"}}, {});
  Recorder recorder(*strategy);
  const auto trained = TinyModel({"a", "b", "c"}, kLabels, /*dropout=*/0),
             before = TinyModel({"a", "b", "c"}, kLabels, 0), model = TinyModel({"a", "b", "c"}, kLabels, 0);
  struct Watch final : train::TrainObserver {
    void OnProgress(const train::Progress& progress) override { extra.push_back(progress.extra_loss); }
    std::vector<double> extra;
  } watch;
  train::TrainInput input = Input("b", b_, &recorder);
  input.observer = &watch;
  train::TrainOptions options = RunOptions();
  options.accumulation = 2;
  ASSERT_TRUE(train::Train(*trained, options, input).ok());
  for (const size_t step : {size_t{0}, size_t{1}}) {
    model->parameters().weights().copy_(recorder.steps[step].before);
    at::Tensor expected = at::zeros({model->parameters().size()}, at::kDouble);
    double loss = 0;
    for (size_t i = 16 * step; i < 16 * step + 16; ++i) {
      expected += GradientOf(*model, "b", b_[i]);
      for (const char* task : {"a", "c"}) expected += 1.5 * GradientOfLoss(*model, *before, task, b_[i], 3, loss);
    }
    expected /= 16;
    EXPECT_LT((recorder.steps[step].used - expected).abs().max().item<double>(),
              1e-4 * expected.abs().max().item<double>())
        << step;
    EXPECT_NEAR(watch.extra[step], 1.5 * loss / 16, 1e-4 * loss / 16 + 1e-6);
    EXPECT_EQ(loss > 1e-6, step > 0) << "before the first step nothing has been forgotten";
  }
}

// A classifier with three labels that gets two more is held to what it said of the three.
TEST_F(Lwf, ATaskThatGrowsIsHeldToWhatItSaidOfItsLabels) {
  constexpr int64_t kMore = kLabels + 2;
  std::vector<train::TrainingExample> texts = b_;
  for (train::TrainingExample& text : texts) text.label = kLabels + text.label % 2;
  const auto strategy = Make("lwf", {{"alpha", "1.5"}, {"temperature", "3"}}, {});
  Recorder recorder(*strategy);
  const auto before = TinyModel({"b"}, kLabels, /*dropout=*/0), model = TinyModel({"b"}, kLabels, 0),
             trained = TinyModel({"b"}, kLabels, 0);
  for (nn::Model* const grown : {model.get(), trained.get()}) {
    ASSERT_TRUE(nn::GrowHead("b", kMore, 3, *grown).ok());
  }
  train::TrainInput input = Input("b", texts, &recorder);
  input.task.labels = kMore;
  input.task.known_labels = kLabels;
  ASSERT_TRUE(train::Train(*trained, RunOptions(), input).ok());
  for (const size_t step : {size_t{0}, size_t{2}}) {
    model->parameters().weights().copy_(recorder.steps[step].before);
    at::Tensor expected = at::zeros({model->parameters().size()}, at::kDouble);
    double loss = 0;
    for (size_t i = 8 * step; i < 8 * step + 8; ++i) {
      expected +=
          (GradientOf(*model, "b", texts[i]) + 1.5 * GradientOfLoss(*model, *before, "b", texts[i], 3, loss)) / 8;
    }
    EXPECT_LT((recorder.steps[step].used - expected).abs().max().item<double>(),
              1e-4 * expected.abs().max().item<double>())
        << step;
  }
}

TEST_F(Lwf, TheFirstTaskIsLearnedAsByNaive) {
  const auto model = TinyModel({"b"}, kLabels), naive = TinyModel({"b"}, kLabels);
  const auto strategy = Make("lwf", {}, {});
  ASSERT_TRUE(train::Train(*model, RunOptions(), Input("b", b_, strategy.get())).ok());
  ASSERT_TRUE(train::Train(*naive, RunOptions(), Input("b", b_, nullptr)).ok());
  EXPECT_TRUE(at::equal(model->parameters().weights(), naive->parameters().weights()));
}

// The reason that it is there: what the earlier heads say of the new task's texts stays nearer to what they said.
TEST_F(Lwf, EarlierHeadsChangeTheirAnswersLessThanUnderNaive) {
  const auto before = TinyModel({"a", "b"}, kLabels, 0), model = TinyModel({"a", "b"}, kLabels, 0),
             naive = TinyModel({"a", "b"}, kLabels, 0);
  const auto strategy = Make("lwf", {{"alpha", "100"}}, {});
  ASSERT_TRUE(train::Train(*model, RunOptions(), Input("b", b_, strategy.get())).ok());
  ASSERT_TRUE(train::Train(*naive, RunOptions(), Input("b", b_, nullptr)).ok());
  const auto away = [&](const nn::Model& now) {
    double loss = 0;
    const auto then = *train::PredictLogits(*before, TinyTask("a", kLabels), b_, {}),
               answers = *train::PredictLogits(now, TinyTask("a", kLabels), b_, {});
    for (size_t i = 0; i < b_.size(); ++i) loss += Loss(Row(then[i]), Row(answers[i]), 1);
    return loss;
  };
  EXPECT_LT(away(*model), 0.5 * away(*naive));
}

}  // namespace
}  // namespace engram::continual
