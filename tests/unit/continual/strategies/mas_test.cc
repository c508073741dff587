#include "ATen/ops/zeros_like.h"
#include "core/continual/encoder_memory.h"
#include "tests/unit/continual/strategy_probe.h"

namespace engram::continual {
namespace {

class Mas : public StrategyProbe {
 protected:
  static double Length(const nn::Model& model, const std::string& task, const train::TrainingExample& text) {
    const auto logits = *train::PredictLogits(model, TinyTask(task, kLabels), std::span(&text, 1), {});
    return logits.front().to(at::kDouble).square().sum().item<double>();
  }

  // 1/N sum over texts of |d |f(x)|^2 / d theta|, text by text.
  static at::Tensor Omega(nn::Model& model, const std::string& task, const std::vector<train::TrainingExample>& texts) {
    at::Tensor sum = at::zeros({model.EncoderElements()}, at::kDouble);
    for (const train::TrainingExample& text : texts) {
      const auto batch = *nn::Pack(std::span(&text.sequence, 1), at::kCPU);
      const auto tape = nn::Model::NewTape();
      const at::Tensor logits = model.Predict(batch, {task, at::Tensor()}, std::nullopt, tape.get());
      nn::GradientBuffer own(model.parameters());
      nn::AccumulateSink sink(&own);
      model.Backward(logits * 2, *tape, sink);
      sum += own.flat().narrow(0, 0, sum.numel()).to(at::kDouble).abs();
    }
    return sum / static_cast<double>(texts.size());
  }
};

TEST_F(Mas, OmegaIsTheMeanOverTextsOfTheAbsoluteGradientOfTheSquaredLengthAndAddsUpOverTasks) {
  const auto model = TinyModel({"a", "b"}, kLabels);
  at::Tensor expected = at::zeros({model->EncoderElements()}, at::kDouble);
  train::VersionMemory memory;
  for (const std::string task : {"a", "b"}) {
    const auto strategy = Make("mas", {{"lambda", "3"}, {"samples", "0"}}, memory);
    Recorder recorder(*strategy);
    const auto training = TinyExamples(20, kLabels, task == "a" ? 1 : 9);
    const auto result = train::Train(*model, RunOptions(), Input(task, training, &recorder));
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_EQ(recorder.penalties.size(), task == "a" ? 0 : 1);
    if (task == "b") {
      // lambda sum Omega d^2 is half of 2 lambda Omega d^2.
      EXPECT_DOUBLE_EQ(recorder.penalties[0].strength, 6);
      EXPECT_LT((recorder.penalties[0].importance - expected).abs().max().item<double>(),
                1e-5 * expected.max().item<double>());
      EXPECT_TRUE(at::equal(recorder.penalties[0].anchor.to(at::kDouble),
                            recorder.steps[0].before.narrow(0, 0, expected.numel())));
    }
    expected += Omega(*model, task, training);
    memory = result->memory;
    const at::Tensor omega = *RecallEncoder(*model, "omega", memory, at::zeros_like(EncoderWeights(*model)));
    EXPECT_LT((omega - expected).abs().max().item<double>(), 1e-5 * expected.max().item<double>()) << task;
    EXPECT_TRUE(at::equal(*RecallEncoder(*model, "anchor", memory, omega), EncoderWeights(*model)));
  }
}

// The gradient that the loop above stands on, by differences.
TEST_F(Mas, ItIsTheSquaredLengthThatIsDifferentiated) {
  const auto model = TinyModel({"a"}, kLabels);
  const auto texts = TinyExamples(1, kLabels, 1);
  ImportanceOptions options;
  const auto sensitivity = ComputeSensitivity(*model, "a", texts, options);
  ASSERT_TRUE(sensitivity.ok()) << sensitivity.status();
  const auto [largest, index] = sensitivity->fisher.max(0);
  const int64_t i = index.item<int64_t>();
  float& weight = model->parameters().weights().mutable_data_ptr<float>()[i];
  const float at_start = weight;
  constexpr float kStep = 1e-3F;
  weight = at_start + kStep;
  const double above = Length(*model, "a", texts[0]);
  weight = at_start - kStep;
  const double below = Length(*model, "a", texts[0]);
  EXPECT_NEAR(largest.item<double>(), std::abs(above - below) / (2 * kStep), 0.02 * largest.item<double>());
}

// A sentence in two windows is one text: its gradients are summed before their size is taken.
TEST_F(Mas, WindowsOfOneTextAreOneText) {
  const auto model = TinyModel({"a"}, kLabels);
  auto texts = TinyExamples(2, kLabels, 1);
  const auto apart = ComputeSensitivity(*model, "a", texts, {});
  texts[1].continues = true;
  const auto together = ComputeSensitivity(*model, "a", texts, {});
  ASSERT_TRUE(together.ok()) << together.status();
  EXPECT_EQ(together->samples, 1);
  EXPECT_TRUE((together->fisher <= 2.001 * apart->fisher + 1e-6).all().item<bool>());
  EXPECT_LT(together->trace, 1.999 * apart->trace) << "some gradients point against each other";
}

}  // namespace
}  // namespace engram::continual
