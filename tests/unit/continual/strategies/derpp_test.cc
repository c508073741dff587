#include "ATen/ops/zeros_like.h"
#include "tests/unit/continual/strategy_probe.h"

namespace engram::continual {
namespace {

class Derpp : public StrategyProbe {
 protected:
  const std::vector<train::TrainingExample> a_ = TinyExamples(3, kLabels, 1), c_ = TinyExamples(2, kLabels, 2),
                                            b_ = TinyExamples(40, kLabels, 9);

  // The gradient of sum over the stored labels of (f - z)^2 on one text.
  static at::Tensor GradientOfDistance(nn::Model& model, const train::StoredExample& stored) {
    const auto batch = *nn::Pack(std::span(&stored.example.sequence, 1), at::kCPU);
    const auto tape = nn::Model::NewTape();
    const at::Tensor logits = model.Predict(batch, {stored.task, at::Tensor()}, std::nullopt, tape.get());
    at::Tensor slope = at::zeros_like(logits);
    for (size_t c = 0; c < stored.logits.size(); ++c) {
      const auto column = static_cast<int64_t>(c);
      slope[0][column] = 2 * (logits[0][column].item<float>() - stored.logits[c]);
    }
    nn::GradientBuffer own(model.parameters());
    nn::AccumulateSink sink(&own);
    model.Backward(slope, *tape, sink);
    return own.flat().to(at::kDouble);
  }
};

// The memory is smaller than the replayed batches, so both hold all of it. Task c's head had two labels when its texts
// were stored.
TEST_F(Derpp, TheGradientIsThatOfTheTaskAndOfStoredLogitsAndLabels) {
  train::VersionMemory memory = Held({{"a", a_}, {"c", c_}});
  for (size_t i = 0; i < memory.examples.size(); ++i) {
    memory.examples[i].logits = {0.3F * static_cast<float>(i), -1};
    if (memory.examples[i].task == "a") memory.examples[i].logits.push_back(0.7F);
  }
  for (const int64_t accumulation : {1, 2}) {
    const auto strategy = Make("derpp", {{"replay_batch", "8"}, {"alpha", "0.3"}, {"beta", "0.7"}}, memory);
    Recorder recorder(*strategy);
    train::TrainOptions options = RunOptions();
    options.accumulation = accumulation;
    const auto model = TinyModel({"a", "b", "c"}, kLabels, /*dropout=*/0),
               start = TinyModel({"a", "b", "c"}, kLabels, 0);
    const auto result = train::Train(*model, options, Input("b", b_, &recorder));
    ASSERT_TRUE(result.ok()) << result.status();
    at::Tensor expected = at::zeros({start->parameters().size()}, at::kDouble);
    for (int64_t i = 0; i < 8 * accumulation; ++i) {
      expected += GradientOf(*start, "b", b_[i]) / static_cast<double>(8 * accumulation);
    }
    for (const train::StoredExample& stored : memory.examples) {
      expected += 0.3 / 5 * GradientOfDistance(*start, stored);
      expected += 0.7 / 5 * GradientOf(*start, stored.task, stored.example);
    }
    EXPECT_LT((recorder.steps[0].used - expected).abs().max().item<double>(),
              1e-5 * expected.abs().max().item<double>())
        << accumulation;
  }
}

TEST_F(Derpp, KeepsWhatTheModelAnswersOnceTheTaskIsLearnedAndWhatItAnsweredBefore) {
  const auto model = TinyModel({"a", "b"}, kLabels);
  const auto first = Make("derpp", {{"memory_size", "6"}}, {});
  const auto b = train::Train(*model, RunOptions(), Input("b", b_, first.get()));
  ASSERT_TRUE(b.ok()) << b.status();
  ASSERT_EQ(b->memory.examples.size(), 6);
  std::vector<train::TrainingExample> kept;
  for (const auto& stored : b->memory.examples) kept.push_back(stored.example);
  const auto answers = *train::PredictLogits(*model, TinyTask("b", kLabels), kept, {});
  for (size_t i = 0; i < kept.size(); ++i) {
    ASSERT_EQ(b->memory.examples[i].logits.size(), kLabels);
    for (int64_t c = 0; c < kLabels; ++c)
      EXPECT_NEAR(b->memory.examples[i].logits[static_cast<size_t>(c)], answers[i][c].item<float>(), 1e-5);
  }
  const auto second = Make("derpp", {{"memory_size", "6"}}, b->memory);
  const auto a = train::Train(*model, RunOptions(), Input("a", a_, second.get()));
  ASSERT_TRUE(a.ok()) << a.status();
  ASSERT_EQ(a->memory.examples.size(), 6);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(a->memory.examples[i].logits, b->memory.examples[i].logits);
  for (size_t i = 3; i < 6; ++i) EXPECT_EQ(a->memory.examples[i].logits.size(), kLabels);
}

TEST_F(Derpp, LogitsOfMoreLabelsThanTheHeadHasAreRefused) {
  train::VersionMemory memory = Held({{"a", a_}});
  memory.examples[1].logits = {1, 2, 3, 4};
  const auto strategy = Make("derpp", {}, memory);
  EXPECT_EQ(
      StatusField(train::Train(*TinyModel({"a", "b"}, kLabels), RunOptions(), Input("b", b_, strategy.get())).status()),
      "examples[1]");
}

}  // namespace
}  // namespace engram::continual
