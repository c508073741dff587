#include "core/train/replay.h"

#include <cmath>
#include <numeric>
#include <set>

#include "ATen/TensorOperators.h"
#include "ATen/ops/equal.h"
#include "core/nn/ops/cross_entropy/cross_entropy.h"
#include "tests/unit/tiny_model.h"

namespace engram::train {
namespace {

constexpr int64_t kLabels = 3;

// Heads "a" and "b" classify texts, "t" tags tokens.
std::unique_ptr<nn::Model> Model() {
  auto model = TinyModel({"a", "b"}, kLabels, /*dropout=*/0);
  EXPECT_TRUE(
      model->AddHead("t", {checkpoint::TaskKind::kTokenClassification, 4, checkpoint::Pooling::kStandard}, 2).ok());
  EXPECT_TRUE(
      model->AddHead("m", {checkpoint::TaskKind::kMaskedLanguageModel, 0, checkpoint::Pooling::kStandard}, 2).ok());
  return model;
}

std::vector<StoredExample> Stored() {
  std::vector<StoredExample> stored;
  const std::vector<TrainingExample> texts = TinyExamples(9, kLabels, 4);
  for (size_t i = 0; i < texts.size(); ++i) {
    stored.push_back({std::string(1, "abt"[i % 3]), texts[i]});
    if (i % 3 != 2) continue;
    TrainingExample& tagged = stored.back().example;
    for (size_t token = 0; token < tagged.sequence.ids.size(); ++token) {
      tagged.tags.push_back(token % 3 == 0 ? nn::ops::kIgnored : static_cast<int64_t>(token + i) % 4);
    }
    tagged.label = -1;
  }
  return stored;
}

// One mixed pass is the sum of a pass for each example through its own head.
TEST(Replay, TheGradientIsThatOfEachExampleAlone) {
  const auto model = Model();
  const std::vector<StoredExample> stored = Stored();
  ASSERT_TRUE(CheckStoredExamples(*model, stored).ok());
  const std::vector<int64_t> chosen = {0, 1, 2, 4, 5, 8};
  at::Tensor expected = at::zeros({model->parameters().size()}, at::kDouble);
  double sum = 0;
  int64_t units = 0;
  for (const int64_t i : chosen) {
    const checkpoint::TaskKind kind = model->heads().at(stored[i].task).kind;
    const TaskSpec spec{stored[i].task, kind, kind == checkpoint::TaskKind::kTokenClassification ? 4 : kLabels,
                        std::nullopt};
    const auto batch = *MakeMicroBatch(spec, std::span(&stored[i].example, 1), std::vector<int64_t>{0}, 0, 0, at::kCPU);
    const auto tape = nn::Model::NewTape();
    const LossResult loss = CrossEntropyLoss(
        model->Predict(batch.batch, {stored[i].task, {}}, std::nullopt, tape.get()), batch.targets, 1.0);
    nn::GradientBuffer own(model->parameters());
    nn::AccumulateSink sink(&own);
    model->Backward(loss.grad, *tape, sink);
    expected += own.flat();
    sum += loss.sum;
    units += batch.units;
  }
  nn::GradientBuffer together(model->parameters());
  nn::AccumulateSink sink(&together);
  const auto loss = AddReplayGradient(*model, stored, chosen, 0.25, /*seed=*/1, /*step=*/5, sink);
  ASSERT_TRUE(loss.ok()) << loss.status();
  EXPECT_EQ(loss->units, units);
  EXPECT_NEAR(loss->sum, sum, 1e-5 * sum);
  EXPECT_LT((together.flat() - 0.25 * expected).abs().max().item<double>(), 1e-5 * expected.abs().max().item<double>());
}

// Dropout masks of its own for each step, repeated for the same one.
TEST(Replay, HasItsOwnDropoutInEachStep) {
  const auto model = TinyModel({"a"}, kLabels, /*dropout=*/0.5), plain = TinyModel({"a"}, kLabels, /*dropout=*/0);
  const std::vector<StoredExample> stored = {{"a", TinyExamples(1, kLabels, 4)[0]}};
  const auto gradient = [&](const nn::Model& of, uint64_t seed, int64_t step) {
    nn::GradientBuffer own(of.parameters());
    nn::AccumulateSink sink(&own);
    EXPECT_TRUE(AddReplayGradient(of, stored, std::vector<int64_t>{0}, 1, seed, step, sink).ok());
    return own.flat();
  };
  EXPECT_TRUE(at::equal(gradient(*model, 1, 5), gradient(*model, 1, 5)));
  EXPECT_FALSE(at::equal(gradient(*model, 1, 5), gradient(*model, 1, 6)));
  EXPECT_FALSE(at::equal(gradient(*model, 1, 5), gradient(*model, 2, 5)));
  EXPECT_FALSE(at::equal(gradient(*model, 1, 5), gradient(*plain, 1, 5)));
  // Not those of the training step of that number.
  const auto batch = *MakeMicroBatch(TinyTask("a", kLabels), std::span(&stored[0].example, 1), std::vector<int64_t>{0},
                                     1, 5, at::kCPU);
  const auto tape = nn::Model::NewTape();
  const at::Tensor logits = model->Predict(batch.batch, {"a", {}}, nn::TrainingMode{1, 5}, tape.get());
  nn::GradientBuffer trained(model->parameters());
  nn::AccumulateSink sink(&trained);
  model->Backward(CrossEntropyLoss(logits, batch.targets, 1.0).grad, *tape, sink);
  EXPECT_FALSE(at::equal(gradient(*model, 1, 5), trained.flat()));
}

TEST(Replay, RefusesWhatTheModelCannotLearnFrom) {
  const auto model = Model();
  const auto expect = [&](const char* what, void (*spoil)(StoredExample&)) {
    std::vector<StoredExample> stored = Stored();
    spoil(stored[3]);  // task a
    const absl::Status status = CheckStoredExamples(*model, stored);
    EXPECT_EQ(StatusField(status), "examples[3]");
    EXPECT_NE(std::string(status.message()).find(what), std::string::npos) << status;
  };
  expect("no head", [](StoredExample& s) { s.task = "z"; });
  expect("masked", [](StoredExample& s) { s.task = "m"; });
  expect("label number 3", [](StoredExample& s) { s.example.label = 3; });
  expect("tags for", [](StoredExample& s) { s.task = "t"; });
  expect("tokens, the model takes", [](StoredExample& s) { s.example.sequence.ids.resize(33, 1); });
  expect("vocabulary", [](StoredExample& s) { s.example.sequence.ids[0] = 60; });
}

TEST(Replay, DrawsDifferBetweenStepsAndAreUniform) {
  constexpr int64_t kStored = 20, kDrawn = 5, kSteps = 4000;
  std::vector<int64_t> counts(kStored, 0);
  for (int64_t step = 0; step < kSteps; ++step) {
    const std::vector<int64_t> drawn = DrawStored(kStored, kDrawn, 3, step);
    EXPECT_EQ(drawn, DrawStored(kStored, kDrawn, 3, step));
    ASSERT_EQ(std::set<int64_t>(drawn.begin(), drawn.end()).size(), kDrawn);
    for (const int64_t i : drawn) ++counts.at(i);
  }
  // Binomial with mean 1000 and standard deviation 27.
  for (const int64_t count : counts) EXPECT_NEAR(static_cast<double>(count), 1000, 5 * 27.4);
  EXPECT_EQ(DrawStored(3, 5, 1, 0), (std::vector<int64_t>{0, 1, 2}));
  EXPECT_TRUE(DrawStored(0, 5, 1, 0).empty());
}

// After three tasks each has a third; every text of the first, shrunk twice, is in with the same probability.
TEST(Replay, TheMemoryIsBalancedAndUniform) {
  constexpr int64_t kTexts = 10, kSize = 13, kRuns = 3000;
  std::vector<TrainingExample> texts = TinyExamples(kTexts, kLabels, 4);
  for (int64_t i = 0; i < kTexts; ++i) texts[i].source = i;
  std::map<std::string, std::vector<int64_t>> counts;
  for (int64_t run = 0; run < kRuns; ++run) {
    std::vector<StoredExample> memory;
    for (const std::string task : {"first", "second", "third"}) {
      memory = BalancedMemory(std::move(memory), task, texts, kSize, static_cast<uint64_t>(run));
    }
    ASSERT_EQ(memory.size(), 12);
    std::map<std::string, std::set<int64_t>> held;
    for (const StoredExample& stored : memory) held[stored.task].insert(stored.example.source);
    for (const auto& [task, sources] : held) {
      ASSERT_EQ(sources.size(), 4) << task;
      counts[task].resize(kTexts);
      for (const int64_t source : sources) ++counts[task][source];
    }
  }
  // Binomial with p = 0.4: mean 1200, standard deviation 27.
  for (const auto& [task, of_task] : counts) {
    for (const int64_t count : of_task) EXPECT_NEAR(static_cast<double>(count), 1200, 5 * 26.9) << task;
  }
}

// 12 of 40 texts of two labels are held; then come 40 of one more. Two thirds of the 12 go on, each text with the same
// probability, and a third is new; at half the size it is so again.
TEST(Replay, ATaskThatGrowsKeepsTheShareOfItsLabels) {
  constexpr int64_t kTexts = 40, kRuns = 2000;
  std::vector<TrainingExample> texts = TinyExamples(kTexts, kLabels, 4);
  for (int64_t i = 0; i < kTexts; ++i) texts[i].source = i;
  std::vector<int64_t> old(kTexts), smaller(kTexts);
  for (int64_t run = 0; run < kRuns; ++run) {
    for (TrainingExample& text : texts) text.label = 0;
    auto memory = BalancedMemory({}, "a", texts, 12, static_cast<uint64_t>(2 * run));
    for (TrainingExample& text : texts) text.label = 1;
    memory = BalancedMemory(std::move(memory), "a", texts, 12, static_cast<uint64_t>(2 * run + 1), /*known=*/2.0 / 3);
    ASSERT_EQ(memory.size(), 12);
    for (const StoredExample& stored : memory) old[stored.example.source] += stored.example.label == 0 ? 1 : 0;
    for (const StoredExample& stored : BalancedMemory(memory, "b", texts, 12, 1)) {
      if (stored.task == "a") smaller[stored.example.source] += stored.example.label == 0 ? 1 : 0;
    }
  }
  // Binomial: p = 8 / 40, mean 400, standard deviation 18; half of that after another task came.
  for (const int64_t count : old) EXPECT_NEAR(static_cast<double>(count), 400, 5 * 17.9);
  for (const int64_t count : smaller) EXPECT_NEAR(static_cast<double>(count), 200, 5 * 13.4);
  EXPECT_EQ(std::accumulate(old.begin(), old.end(), int64_t{0}), 8 * kRuns);
}

TEST(Replay, ATaskLearnedAgainReplacesWhatIsHeldOfIt) {
  const std::vector<TrainingExample> old = TinyExamples(4, kLabels, 1), texts = TinyExamples(3, kLabels, 2);
  std::vector<StoredExample> memory = BalancedMemory({}, "a", old, 10, 1);
  memory = BalancedMemory(std::move(memory), "b", old, 10, 1);
  memory = BalancedMemory(std::move(memory), "a", texts, 10, 1);
  std::map<std::string, int> held;
  for (const StoredExample& stored : memory) ++held[stored.task];
  EXPECT_EQ(held, (std::map<std::string, int>{{"a", 3}, {"b", 4}}));
  EXPECT_EQ(StoredTasks(memory), (std::vector<std::string>{"b", "a"}));
}

}  // namespace
}  // namespace engram::train
