// The strategies that give a task blocks of its own: nothing else moves, nothing is forgotten, and what they learn is what
// the merged form of the same update learns. The formulas themselves: tests/unit/nn/task_blocks_test.cc.

#include <string>
#include <vector>

#include "core/continual/block_strategy.h"
#include "core/continual/consolidation.h"
#include "tests/unit/continual/strategy_probe.h"

namespace engram::continual {
namespace {

using checkpoint::BlocksKind;

class BlockStrategies : public StrategyProbe {
 protected:
  static at::Tensor Logits(const nn::Model& model, const std::string& task) {
    const auto texts = TinyExamples(10, kLabels, 77);
    std::vector<nn::Sequence> sequences;
    for (const train::TrainingExample& text : texts) sequences.push_back(text.sequence);
    const auto batch = *nn::Pack(std::span<const nn::Sequence>(sequences), at::kCPU);
    return model.Predict(batch, {task, at::Tensor()}, std::nullopt, nullptr);
  }
  static absl::StatusOr<train::TrainResult> Learn(nn::Model& model, const std::string& task, const std::string& name,
                                                  const Options& options, double lr = 2e-2) {
    const auto strategy = Make(name, options, {});
    train::TrainOptions run = RunOptions();
    run.lr = lr;
    const auto training = TinyExamples(48, kLabels, 5);
    return train::Train(model, run, Input(task, training, strategy.get()));
  }
};

TEST_F(BlockStrategies, OnlyTheTasksOwnPartsMoveAndEarlierTasksAnswerToTheBit) {
  for (const auto& [name, options] : std::vector<std::pair<std::string, Options>>{
           {"adapter", {}}, {"adapter", {{"places", "sublayers"}}}, {"lora", {{"merged", "false"}}}, {"pnn", {}}}) {
    const auto model = TinyModel({"a", "b", "c"}, kLabels);
    const at::Tensor encoder = EncoderWeights(*model);
    std::map<std::string, at::Tensor> answers;
    for (const std::string task : {"a", "b", "c"}) {
      const at::Tensor untrained = Logits(*model, task);
      const auto result = Learn(*model, task, name, options);
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_TRUE(result->memory.empty());
      EXPECT_TRUE(at::equal(EncoderWeights(*model), encoder)) << name;
      for (const auto& [earlier, expected] : answers)
        EXPECT_TRUE(at::equal(Logits(*model, earlier), expected)) << name << ": " << earlier << " after " << task;
      answers[task] = Logits(*model, task);
      EXPECT_GT((answers[task] - untrained).abs().max().item<double>(), 0.05) << name;
      // The blocks are part of that: without them the task answers otherwise.
      const auto without = TinyModel({"a", "b", "c"}, kLabels);
      const std::vector<nn::SlotId> own = model->HeadSlots(task), plain = without->HeadSlots(task);
      for (size_t i = 0; i < plain.size(); ++i)
        without->parameters().Weight(plain[i]).copy_(model->parameters().Weight(own[i]));
      EXPECT_GT((Logits(*without, task) - answers[task]).abs().max().item<double>(), 1e-3) << name;
    }
  }
}

// The same draws, the same gradients: a low-rank update that is merged after each step and one that stays apart.
TEST_F(BlockStrategies, LoraLearnsTheSameMergedAndApart) {
  for (const char* targets : {"query_value", "all"}) {
    const auto merged = TinyModel({"a"}, kLabels), apart = TinyModel({"a"}, kLabels);
    const Options options = {{"rank", "3"}, {"alpha", "4"}, {"targets", targets}};
    Options unmerged = options;
    unmerged["merged"] = "false";
    ASSERT_TRUE(Learn(*merged, "a", "lora", options, 5e-3).ok());
    ASSERT_TRUE(Learn(*apart, "a", "lora", unmerged, 5e-3).ok());
    const at::Tensor one = Logits(*merged, "a"), other = Logits(*apart, "a");
    const double largest = (one - other).abs().max().item<double>();
    RecordProperty(absl::StrCat("largest_difference_", targets), absl::StrCat(largest));
    EXPECT_LT(largest, 1e-3) << targets << ", of logits up to " << one.abs().max().item<double>();
    EXPECT_GT((one - Logits(*TinyModel({"a"}, kLabels), "a")).abs().max().item<double>(), 0.05);
    EXPECT_FALSE(at::equal(EncoderWeights(*merged), EncoderWeights(*apart)));
  }
}

TEST_F(BlockStrategies, AColumnReadsAllBeforeItInTheOrderOfTheStream) {
  // Learned in an order that is not that of names; "b" learned without a column in between.
  const auto model = TinyModel({"a", "b", "c", "d"}, kLabels);
  ASSERT_TRUE(Learn(*model, "d", "pnn", {}).ok());
  ASSERT_TRUE(Learn(*model, "b", "frozen", {{"warm_up", "false"}}).ok());
  ASSERT_TRUE(Learn(*model, "a", "pnn", {}).ok());
  ASSERT_TRUE(Learn(*model, "c", "pnn", {{"width", "32"}}).ok());
  EXPECT_EQ(model->heads().at("b").blocks.kind, BlocksKind::kNone);
  EXPECT_EQ(model->heads().at("d").blocks.earlier, std::vector<std::string>());
  EXPECT_EQ(model->heads().at("a").blocks.earlier, std::vector<std::string>({"d"}));
  EXPECT_EQ(model->heads().at("c").blocks.earlier, std::vector<std::string>({"d", "a"}));
  // What later columns read has to stay; the last may learn on.
  EXPECT_EQ(Learn(*model, "a", "pnn", {}).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Learn(*model, "c", "pnn", {}).status().code(), absl::StatusCode::kFailedPrecondition) << "another width";
  EXPECT_TRUE(Learn(*model, "c", "pnn", {{"width", "32"}}).ok());
  EXPECT_EQ(Learn(*model, "b", "pnn", {{"places", "sublayers"}}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(BlockStrategies, BlocksOfAnotherKindAreRefused) {
  const auto model = TinyModel({"a"}, kLabels);
  ASSERT_TRUE(Learn(*model, "a", "adapter", {}).ok());
  EXPECT_EQ(Learn(*model, "a", "lora", {{"merged", "false"}}).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Learn(*model, "a", "adapter", {{"width", "8"}}).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Learn(*model, "a", "fel", {}).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Learn(*model, "a", "adapter", {}).ok());
}

// What the version holds of a task is what its cost says, laterals included.
TEST_F(BlockStrategies, TheVersionGrowsByWhatTheCostSays) {
  const auto model = TinyModel({"a", "b"}, kLabels);
  const auto plain = model->Clone();
  StrategySizes sizes;
  sizes.hidden_size = TinyConfig().hidden_size;
  sizes.intermediate_size = TinyConfig().intermediate_size;
  sizes.layers = TinyConfig().layers;
  for (const std::string task : {"a", "b"}) {
    const StrategyInfo& info = Strategies().at("pnn");
    const StrategyCost cost = CostOf(info, info.options.Defaults(), sizes);
    ASSERT_TRUE(Learn(*model, task, "pnn", {}).ok());
    int64_t bytes = 0;
    for (const nn::SlotId slot : model->HeadSlots(task)) bytes += model->parameters().slice(slot).size * 4;
    for (const nn::SlotId slot : plain->HeadSlots(task)) bytes -= plain->parameters().slice(slot).size * 4;
    EXPECT_EQ(cost.version_bytes, bytes);
    EXPECT_DOUBLE_EQ(cost.extra_passes, static_cast<double>(sizes.columns) / 3);
    ++sizes.columns;
  }
}

}  // namespace
}  // namespace engram::continual
