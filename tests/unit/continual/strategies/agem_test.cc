#include "tests/unit/continual/strategy_probe.h"

namespace engram::continual {
namespace {

class Agem : public StrategyProbe {
 protected:
  const std::vector<train::TrainingExample> b_ = TinyExamples(40, kLabels, 9);
};

// g and r from passes of one example each; what is held of task a differs from case to case, and in some of them the
// task's gradient would raise its loss.
TEST_F(Agem, ProjectsTheGradientWhereItWouldRaiseTheLossOfWhatIsHeld) {
  const auto start = TinyModel({"a", "b"}, kLabels, /*dropout=*/0);
  at::Tensor trained = at::zeros({start->parameters().size()}, at::kDouble);
  for (const std::vector<nn::SlotId>& slots : {start->EncoderSlots(), start->HeadSlots("b")}) {
    for (const nn::SlotId slot : slots) {
      const nn::ParameterSlice& slice = start->parameters().slice(slot);
      trained.narrow(0, slice.offset, slice.size).fill_(1);
    }
  }
  at::Tensor g = at::zeros_like(trained);
  for (int64_t i = 0; i < 8; ++i) g += GradientOf(*start, "b", b_[i]) / 8;
  int projected = 0, left = 0;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    const auto held = TinyExamples(2, kLabels, seed);
    const at::Tensor r = (GradientOf(*start, "a", held[0]) + GradientOf(*start, "a", held[1])) / 2 * trained;
    const double along = (g * r).sum().item<double>(), square = (r * r).sum().item<double>();
    const at::Tensor expected = along < 0 ? g - along / square * r : g;
    (along < 0 ? projected : left) += 1;

    const auto strategy = Make("agem", {}, Held({{"a", held}}));
    Recorder recorder(*strategy);
    train::TrainOptions options = RunOptions();
    options.epochs = 1;
    const auto model = TinyModel({"a", "b"}, kLabels, /*dropout=*/0);
    const auto result = train::Train(*model, options, Input("b", b_, &recorder));
    ASSERT_TRUE(result.ok()) << result.status();
    const at::Tensor& used = recorder.steps[0].used;
    EXPECT_LT((used - expected).abs().max().item<double>(), 1e-5 * g.abs().max().item<double>()) << seed;
    if (along < 0) {
      EXPECT_GT((used - g).abs().max().item<double>(), 1e-3 * g.abs().max().item<double>()) << seed;
      EXPECT_NEAR((used * r).sum().item<double>(), 0, 1e-4 * -along) << seed;
    }
    // The head of the task that is held stays as it is.
    for (const nn::SlotId slot : model->HeadSlots("a"))
      EXPECT_TRUE(at::equal(model->parameters().Weight(slot), start->parameters().Weight(slot)));
  }
  EXPECT_GT(projected, 0);
  EXPECT_GT(left, 0);
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
