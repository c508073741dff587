#include "core/train/replay.h"
#include "tests/unit/continual/strategy_probe.h"

namespace engram::continual {
namespace {

class Agem : public StrategyProbe {
 protected:
  const std::vector<train::TrainingExample> b_ = TinyExamples(40, kLabels, 9);
};

// g and r from passes of one example each, at the weights of the step; r of the one example that the step draws of the
// two that are held. What is held differs from case to case, and in some of them the task's gradient would raise its
// loss.
TEST_F(Agem, ProjectsTheGradientWhereItWouldRaiseTheLossOfWhatIsHeld) {
  const auto model = TinyModel({"a", "b"}, kLabels, /*dropout=*/0), start = TinyModel({"a", "b"}, kLabels, 0);
  at::Tensor trained = at::zeros({start->parameters().size()}, at::kDouble);
  for (const std::vector<nn::SlotId>& slots : {start->EncoderSlots(), start->HeadSlots("b")}) {
    for (const nn::SlotId slot : slots) {
      const nn::ParameterSlice& slice = start->parameters().slice(slot);
      trained.narrow(0, slice.offset, slice.size).fill_(1);
    }
  }
  int projected = 0, left = 0;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    const auto held = TinyExamples(2, kLabels, seed);
    const auto strategy = Make("agem", {{"reference_batch", "1"}}, Held({{"a", held}}));
    Recorder recorder(*strategy);
    const auto trainee = TinyModel({"a", "b"}, kLabels, /*dropout=*/0);
    const auto result = train::Train(*trainee, RunOptions(), Input("b", b_, &recorder));
    ASSERT_TRUE(result.ok()) << result.status();
    for (const int64_t step : {0, 1, 2, 3}) {
      model->parameters().weights().copy_(recorder.steps[step].before);
      at::Tensor g = at::zeros_like(trained);
      for (int64_t i = 8 * step; i < 8 * step + 8; ++i) g += GradientOf(*model, "b", b_[i]) / 8;
      const int64_t drawn = train::DrawStored(2, 1, RunOptions().seed, step).front();
      const at::Tensor r = GradientOf(*model, "a", held[drawn]) * trained;
      const double along = (g * r).sum().item<double>(), square = (r * r).sum().item<double>();
      const at::Tensor expected = along < 0 ? g - along / square * r : g;
      (along < 0 ? projected : left) += 1;
      const at::Tensor& used = recorder.steps[step].used;
      EXPECT_LT((used - expected).abs().max().item<double>(), 1e-5 * g.abs().max().item<double>())
          << seed << " " << step;
      if (along >= 0) continue;
      EXPECT_NEAR((used * r).sum().item<double>(), 0, 1e-3 * -along) << seed << " " << step;
    }
    // The head of the task that is held stays as it is.
    for (const nn::SlotId slot : start->HeadSlots("a"))
      EXPECT_TRUE(at::equal(trainee->parameters().Weight(slot), start->parameters().Weight(slot)));
  }
  EXPECT_GT(projected, 2);
  EXPECT_GT(left, 2);
}

TEST_F(Agem, KeepsABalancedMemoryAndIsNaiveWithoutOne) {
  const auto model = TinyModel({"a", "b"}, kLabels), naive = TinyModel({"a", "b"}, kLabels);
  const auto strategy = Make("agem", {{"memory_size", "6"}}, {});
  const auto first = train::Train(*model, RunOptions(), Input("b", b_, strategy.get()));
  ASSERT_TRUE(train::Train(*naive, RunOptions(), Input("b", b_, nullptr)).ok());
  EXPECT_TRUE(at::equal(model->parameters().weights(), naive->parameters().weights()));
  ASSERT_EQ(first->memory.examples.size(), 6);
  const auto again = Make("agem", {{"memory_size", "6"}}, first->memory);
  const auto a = TinyExamples(10, kLabels, 1);
  const auto second = train::Train(*model, RunOptions(), Input("a", a, again.get()));
  ASSERT_TRUE(second.ok()) << second.status();
  ASSERT_EQ(second->memory.examples.size(), 6);
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(second->memory.examples[i].task, i < 3 ? "b" : "a");
}

TEST_F(Agem, ResumesToTheBitInMidTask) {
  ExpectResumesToTheBit("agem", {{"reference_batch", "4"}}, Held({{"a", TinyExamples(20, kLabels, 1)}}), b_, {1, 4, 7});
}

}  // namespace
}  // namespace engram::continual
