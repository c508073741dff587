#include "ATen/ops/zeros_like.h"
#include "tests/unit/continual/strategy_probe.h"

namespace engram::continual {
namespace {

class Joint : public StrategyProbe {};

// With weights that do not move, the gradients of an epoch are together those of all texts of both tasks, each once:
// 40 of the task in batches of 8, and 7 that are held, of which every step takes its share.
TEST_F(Joint, AnEpochIsOneOverAllTextsOfAllTasks) {
  const auto a = TinyExamples(7, kLabels, 1), b = TinyExamples(40, kLabels, 9);
  train::VersionMemory memory = Held({{"a", a}});
  memory.values.emplace("seen.a", "7");
  const auto strategy = Make("joint", {}, memory);
  Recorder recorder(*strategy);
  const auto model = TinyModel({"a", "b"}, kLabels, /*dropout=*/0), start = TinyModel({"a", "b"}, kLabels, 0);
  train::TrainOptions options = RunOptions();
  options.lr = 1e-12;
  const auto result = train::Train(*model, options, Input("b", b, &recorder));
  ASSERT_TRUE(result.ok()) << result.status();
  at::Tensor all = at::zeros({start->parameters().size()}, at::kDouble);
  for (const auto& text : a) all += GradientOf(*start, "a", text);
  for (const auto& text : b) all += GradientOf(*start, "b", text);
  ASSERT_EQ(recorder.steps.size(), 10);
  constexpr int64_t kReplayed[] = {1, 1, 2, 1, 2};  // 7 x / 40, rounded down, after x = 8, 16, 24, 32, 40 texts
  for (const size_t epoch : {size_t{0}, size_t{1}}) {
    at::Tensor sum = at::zeros_like(all);
    for (size_t step = 0; step < 5; ++step)
      sum += recorder.steps[5 * epoch + step].used * static_cast<double>(8 + kReplayed[step]);
    EXPECT_LT((sum - all).abs().max().item<double>(), 1e-5 * all.abs().max().item<double>()) << epoch;
  }
  EXPECT_FALSE(at::equal(recorder.steps[0].used, recorder.steps[5].used)) << "each epoch has an order of its own";
  EXPECT_EQ(result->memory.examples.size(), 47) << "all are kept";
}

TEST_F(Joint, MaskedLanguageModelsAreRefused) {
  const auto strategy = Make("joint", {}, {});
  const auto model = TinyModel({"a"}, kLabels);
  train::TaskSetup setup(*model);
  setup.kind = checkpoint::TaskKind::kMaskedLanguageModel;
  EXPECT_EQ(StatusReason(strategy->BeginTask(setup)), "KIND_NOT_REPLAYED");
}

}  // namespace
}  // namespace engram::continual
