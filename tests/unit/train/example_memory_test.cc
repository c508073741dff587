#include "core/train/example_memory.h"

#include <cmath>
#include <map>

#include "tests/unit/tiny_model.h"

namespace engram::train {
namespace {

constexpr int64_t kLabels = 3;

std::vector<StoredExample> Stored(const std::string& task, int64_t count) {
  std::vector<StoredExample> stored;
  for (TrainingExample& example : TinyExamples(count, kLabels, 1)) stored.push_back({task, std::move(example)});
  for (int64_t i = 0; i < count; ++i) stored[static_cast<size_t>(i)].example.source = i;
  return stored;
}

// Of 8 that are kept of 30 + 10 texts, how many are new is hypergeometric: mean 8 * 10 / 40, variance
// 8 * (10 / 40) * (30 / 40) * (32 / 39). Each held and each new text is kept as often as any other.
TEST(ReservoirMemory, EveryTextIsKeptWithTheSameProbability) {
  constexpr int kRuns = 4000;
  auto fresh = TinyExamples(10, kLabels, 9);
  for (size_t i = 0; i < fresh.size(); ++i) fresh[i].source = static_cast<int64_t>(i);
  double sum = 0, squares = 0;
  std::map<std::pair<std::string, int64_t>, int> times;
  for (int run = 0; run < kRuns; ++run) {
    const auto memory = ReservoirMemory(Stored("old", 8), 30, "new", fresh, 8, static_cast<uint64_t>(run));
    ASSERT_EQ(memory.size(), 8);
    int of_new = 0;
    for (const StoredExample& stored : memory) {
      of_new += stored.task == "new" ? 1 : 0;
      ++times[{stored.task, stored.example.source}];
    }
    sum += of_new;
    squares += of_new * of_new;
  }
  const double mean = sum / kRuns, variance = squares / kRuns - mean * mean;
  const double expected = 8 * 0.25 * 0.75 * 32 / 39;
  EXPECT_NEAR(mean, 2, 4 * std::sqrt(expected / kRuns));
  EXPECT_NEAR(variance, expected, 0.1 * expected);
  for (const auto& [text, count] : times) {
    const double probability = text.first == "new" ? 2.0 / 10 : 6.0 / 8;
    EXPECT_NEAR(count / static_cast<double>(kRuns), probability, 5 * std::sqrt(probability * (1 - probability) / kRuns))
        << text.first << text.second;
  }
  EXPECT_EQ(times.size(), 18);
}

TEST(ReservoirMemory, KeepsAllThatFit) {
  const auto fresh = TinyExamples(5, kLabels, 9);
  EXPECT_EQ(ReservoirMemory(Stored("old", 4), 4, "new", fresh, 100, 1).size(), 9);
  EXPECT_EQ(ReservoirMemory({}, 0, "new", fresh, 3, 1).size(), 3);
}

// Shares follow the sizes of the data sets, through the counts that are kept with the examples.
TEST(ExampleMemory, AReservoirCountsTheTextsOfEveryTask) {
  const auto model = TinyModel({"small", "large"}, kLabels);
  VersionMemory memory;
  for (const auto& [task, count] : {std::pair<const char*, int64_t>{"small", 20}, {"large", 180}}) {
    const auto examples = TinyExamples(count, kLabels, 3);
    TaskSetup setup(*model);
    setup.task = task;
    setup.examples = examples;
    ExampleMemory kept(100, MemoryChoice::kReservoir, MemorySource(memory));
    ASSERT_TRUE(kept.Recall(setup).ok());
    memory = {};
    kept.Remember(setup, memory);
  }
  EXPECT_EQ(memory.values.at("seen.small"), "20");
  EXPECT_EQ(memory.values.at("seen.large"), "180");
  ASSERT_EQ(memory.examples.size(), 100);
  const auto small = std::count_if(memory.examples.begin(), memory.examples.end(),
                                   [](const StoredExample& stored) { return stored.task == "small"; });
  EXPECT_NEAR(static_cast<double>(small), 10, 4 * std::sqrt(100 * 0.1 * 0.9 * 100 / 199));
}

TEST(ExampleMemory, AReservoirWithoutCountsIsRefusedAndABalancedMemoryIsNot) {
  const auto model = TinyModel({"old", "new"}, kLabels);
  TaskSetup setup(*model);
  setup.task = "new";
  VersionMemory memory;
  memory.examples = Stored("old", 4);
  ExampleMemory reservoir(10, MemoryChoice::kReservoir, MemorySource(memory));
  EXPECT_EQ(StatusReason(reservoir.Recall(setup)), "MEMORY_UNCOUNTED");
  ExampleMemory balanced(10, MemoryChoice::kBalanced, MemorySource(memory));
  EXPECT_TRUE(balanced.Recall(setup).ok());
  memory.values["seen.old"] = "many";
  ExampleMemory damaged(10, MemoryChoice::kReservoir, MemorySource(memory));
  EXPECT_EQ(StatusReason(damaged.Recall(setup)), "MEMORY_DAMAGED");
  // Its own examples are not replayed, and need no count.
  setup.task = "old";
  memory.values.clear();
  ExampleMemory again(10, MemoryChoice::kReservoir, MemorySource(memory));
  EXPECT_TRUE(again.Recall(setup).ok());
  EXPECT_TRUE(again.held().empty());
}

// What is held of a task is replayed while that task gets further labels, and its texts go on being counted.
TEST(ExampleMemory, ATaskThatGrowsIsReplayed) {
  const auto model = TinyModel({"old"}, kLabels);
  const auto examples = TinyExamples(6, kLabels, 3);
  TaskSetup setup(*model);
  setup.task = "old";
  setup.examples = examples;
  VersionMemory held;
  held.examples = Stored("old", 4);
  held.values["seen.old"] = "4";
  for (const int64_t known : {0, 2}) {
    setup.known_labels = known;
    ExampleMemory memory(100, MemoryChoice::kReservoir, MemorySource(held));
    ASSERT_TRUE(memory.Recall(setup).ok());
    EXPECT_EQ(memory.held().size(), known > 0 ? 4 : 0);
    std::vector<nn::SlotId> slots = setup.trainable;
    memory.TrainHeads(setup);
    EXPECT_EQ(setup.trainable, slots) << "the trainer names the task's own head";
    VersionMemory kept;
    memory.Remember(setup, kept);
    EXPECT_EQ(kept.examples.size(), known > 0 ? 10 : 6);
    EXPECT_EQ(kept.values.at("seen.old"), known > 0 ? "10" : "6");
  }
}

TEST(ExampleMemory, LogitsGoThroughTheFile) {
  VersionMemory memory;
  memory.examples = Stored("old", 3);
  memory.examples[0].logits = {1.5F, -2, 0};
  memory.examples[2].logits = {4};
  const std::string directory = ::testing::TempDir() + "/engram-logits";
  ASSERT_TRUE(WriteVersionMemory(directory, "derpp", memory).ok());
  const auto read = ReadVersionMemory(directory, "derpp");
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->examples.size(), 3);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(read->examples[i].logits, memory.examples[i].logits);
  memory.examples[1].logits = {std::nanf("")};
  ASSERT_TRUE(WriteVersionMemory(directory, "derpp", memory).ok());
  EXPECT_EQ(StatusReason(ReadVersionMemory(directory, "derpp").status()), "MEMORY_DAMAGED");
}

}  // namespace
}  // namespace engram::train
