// What `reptile` does with the weights of each group of steps.

#include "ATen/TensorOperators.h"
#include "ATen/ops/equal.h"
#include "tests/unit/continual/strategy_probe.h"

namespace engram::continual {
namespace {

class Reptile : public StrategyProbe {
 protected:
  const std::vector<train::TrainingExample> a_ = TinyExamples(20, kLabels, 1), b_ = TinyExamples(40, kLabels, 9);
};

// 10 steps in groups of 4: two whole ones and one of two.
TEST_F(Reptile, KeepsAPartOfTheWayOfEachGroup) {
  const auto strategy = Make("reptile", {{"inner_steps", "4"}, {"outer_rate", "0.3"}}, Held({{"a", a_}}));
  Recorder recorder(*strategy);
  const auto model = TinyModel({"a", "b"}, kLabels);
  ASSERT_TRUE(train::Train(*model, RunOptions(), Input("b", b_, &recorder)).ok());
  ASSERT_EQ(recorder.steps.size(), 10);
  const auto next = [&](size_t step) {
    return step + 1 < 10 ? recorder.steps[step + 1].before : model->parameters().weights().to(at::kDouble);
  };
  at::Tensor start = recorder.steps[0].before;
  for (size_t step = 0; step < 10; ++step) {
    const at::Tensor& reached = recorder.steps[step].after;
    if (step != 3 && step != 7 && step != 9) {
      EXPECT_TRUE(at::equal(next(step), reached)) << step;
      continue;
    }
    const at::Tensor expected = start + 0.3 * (reached - start);
    EXPECT_LT((next(step) - expected).abs().max().item<double>(), 1e-6) << step;
    EXPECT_GT((reached - expected).abs().max().item<double>(), 1e-4) << step;
    start = next(step);
  }
}

TEST_F(Reptile, IsReplayIfAllOfTheWayIsKept) {
  const auto all = TinyModel({"a", "b"}, kLabels), er = TinyModel({"a", "b"}, kLabels);
  const auto whole = Make("reptile", {{"outer_rate", "1"}}, Held({{"a", a_}})),
             replay = Make("er", {}, Held({{"a", a_}}));
  ASSERT_TRUE(train::Train(*all, RunOptions(), Input("b", b_, whole.get())).ok());
  ASSERT_TRUE(train::Train(*er, RunOptions(), Input("b", b_, replay.get())).ok());
  EXPECT_TRUE(at::equal(all->parameters().weights(), er->parameters().weights()));
}

TEST_F(Reptile, ResumesToTheBitInMidTask) {
  ExpectResumesToTheBit("reptile", {{"inner_steps", "4"}}, Held({{"a", a_}}), b_, {1, 4, 7});
}

}  // namespace
}  // namespace engram::continual
