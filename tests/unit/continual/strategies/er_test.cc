#include "core/train/replay.h"
#include "tests/unit/continual/strategy_probe.h"

namespace engram::continual {
namespace {

class Er : public StrategyProbe {
 protected:
  const std::vector<train::TrainingExample> a_ = TinyExamples(3, kLabels, 1), c_ = TinyExamples(2, kLabels, 2),
                                            b_ = TinyExamples(40, kLabels, 9);
};

// The memory is smaller than the replayed batch, so each step's union is known: its texts and all that are held. With
// two micro-batches in a step the memory is in twice.
TEST_F(Er, TheGradientIsThatOfTheMeanLossOverTheUnion) {
  for (const int64_t accumulation : {1, 2}) {
    const auto strategy = Make("er", {{"replay_batch", "8"}}, Held({{"a", a_}, {"c", c_}}));
    Recorder recorder(*strategy);
    train::TrainOptions options = RunOptions();
    options.accumulation = accumulation;
    const auto model = TinyModel({"a", "b", "c"}, kLabels, /*dropout=*/0),
               start = TinyModel({"a", "b", "c"}, kLabels, 0);
    const auto result = train::Train(*model, options, Input("b", b_, &recorder));
    ASSERT_TRUE(result.ok()) << result.status();
    at::Tensor sum = at::zeros({start->parameters().size()}, at::kDouble);
    const int64_t batch = 8 * accumulation;
    for (int64_t i = 0; i < batch; ++i) sum += GradientOf(*start, "b", b_[i]);
    for (const auto& example : a_) sum += static_cast<double>(accumulation) * GradientOf(*start, "a", example);
    for (const auto& example : c_) sum += static_cast<double>(accumulation) * GradientOf(*start, "c", example);
    const at::Tensor expected = sum / static_cast<double>(batch + 5 * accumulation);
    EXPECT_LT((recorder.steps[0].used - expected).abs().max().item<double>(),
              1e-5 * expected.abs().max().item<double>())
        << accumulation;
  }
}

TEST_F(Er, EachStepReplaysADrawOfItsOwn) {
  const auto held = TinyExamples(20, kLabels, 1);
  const auto strategy = Make("er", {{"replay_batch", "4"}}, Held({{"a", held}}));
  Recorder recorder(*strategy);
  ASSERT_TRUE(
      train::Train(*TinyModel({"a", "b"}, kLabels, /*dropout=*/0), RunOptions(), Input("b", b_, &recorder)).ok());
  const auto model = TinyModel({"a", "b"}, kLabels, /*dropout=*/0);
  for (const int64_t step : {0, 1, 2}) {
    model->parameters().weights().copy_(recorder.steps[step].before);
    at::Tensor sum = at::zeros({model->parameters().size()}, at::kDouble);
    for (int64_t i = 8 * step; i < 8 * step + 8; ++i) sum += GradientOf(*model, "b", b_[i]);
    for (const int64_t i : train::DrawStored(20, 4, RunOptions().seed, step)) sum += GradientOf(*model, "a", held[i]);
    EXPECT_LT((recorder.steps[step].used - sum / 12).abs().max().item<double>(), 1e-6 * sum.abs().max().item<double>())
        << step;
  }
}

TEST_F(Er, TrainsTheHeadsOfReplayedTasksAndNoOther) {
  const auto strategy = Make("er", {}, Held({{"a", a_}}));
  const auto model = TinyModel({"a", "b", "c"}, kLabels), before = TinyModel({"a", "b", "c"}, kLabels);
  ASSERT_TRUE(train::Train(*model, RunOptions(), Input("b", b_, strategy.get())).ok());
  for (const auto& [task, trained] : {std::pair{"a", true}, {"b", true}, {"c", false}}) {
    for (const nn::SlotId slot : model->HeadSlots(task))
      EXPECT_NE(at::equal(model->parameters().Weight(slot), before->parameters().Weight(slot)), trained) << task;
  }
}

TEST_F(Er, KeepsABalancedMemoryAndIsNaiveWithoutOne) {
  const auto model = TinyModel({"a", "b"}, kLabels), naive = TinyModel({"a", "b"}, kLabels);
  const auto strategy = Make("er", {{"memory_size", "5"}}, {});
  const auto first = train::Train(*model, RunOptions(), Input("b", b_, strategy.get()));
  ASSERT_TRUE(train::Train(*naive, RunOptions(), Input("b", b_, nullptr)).ok());
  EXPECT_TRUE(at::equal(model->parameters().weights(), naive->parameters().weights()));
  ASSERT_EQ(first->memory.examples.size(), 5);
  // Task a: two of each fit; what is kept of b is what comes first in its memory.
  const auto again = Make("er", {{"memory_size", "5"}}, first->memory);
  const auto second = train::Train(*model, RunOptions(), Input("a", a_, again.get()));
  ASSERT_TRUE(second.ok()) << second.status();
  ASSERT_EQ(second->memory.examples.size(), 4);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(second->memory.examples[i].task, i < 2 ? "b" : "a");
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(second->memory.examples[i].example.sequence.ids, first->memory.examples[i].example.sequence.ids);
  }
}

TEST_F(Er, ResumesToTheBitInMidTask) {
  // More are held than replayed: what is drawn differs from step to step.
  ExpectResumesToTheBit("er", {{"replay_batch", "4"}}, Held({{"a", TinyExamples(20, kLabels, 1)}, {"c", c_}}), b_,
                        {1, 4, 7});
}

TEST_F(Er, RefusesAMemoryThatTheModelCannotLearnFrom) {
  const auto strategy = Make("er", {}, Held({{"z", a_}}));
  EXPECT_EQ(
      StatusField(train::Train(*TinyModel({"b"}, kLabels), RunOptions(), Input("b", b_, strategy.get())).status()),
      "examples[0]");
}

}  // namespace
}  // namespace engram::continual
