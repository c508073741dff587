#include "core/continual/stream_metrics.h"

#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::continual {
namespace {

using checkpoint::MetricsMatrix;
using checkpoint::TaskKind;
using checkpoint::VersionManifest;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Optional;
using ::testing::SizeIs;
using Row = std::vector<std::optional<double>>;

constexpr std::nullopt_t kAbsent = std::nullopt;

// A version that knows these tasks; names that begin with "t" are taggers.
VersionManifest Version(const std::vector<std::string>& tasks) {
  VersionManifest manifest;
  for (const std::string& name : tasks) {
    checkpoint::ManifestTask task;
    task.name = name;
    task.kind = name[0] == 't' ? TaskKind::kTokenClassification : TaskKind::kSequenceClassification;
    manifest.tasks.push_back(task);
  }
  return manifest;
}

VersionManifest Accuracies(const std::vector<std::string>& after, const std::vector<std::string>& tasks,
                           const std::vector<Row>& values) {
  VersionManifest manifest = Version(tasks);
  manifest.metrics.push_back({"accuracy", after, tasks, values});
  return manifest;
}

StreamMetrics Only(const VersionManifest& manifest) {
  const std::vector<StreamMetrics> all = ComputeStreamMetrics(manifest);
  EXPECT_THAT(all, SizeIs(1));
  return all.empty() ? StreamMetrics() : all[0];
}

testing::Matcher<std::optional<double>> Near(double value) { return Optional(DoubleNear(value, 1e-12)); }

TEST(StreamMetrics, ThreeTasksByHand) {
  // a: 0.9, improves to 0.95 after b, ends at 0.7. b: 0.8, ends at 0.85.
  const StreamMetrics metrics = Only(
      Accuracies({"a", "b", "c"}, {"a", "b", "c"}, {{0.9, kAbsent, kAbsent}, {0.95, 0.8, kAbsent}, {0.7, 0.85, 0.6}}));
  EXPECT_EQ(metrics.metric, "accuracy");
  EXPECT_THAT(metrics.tasks, ElementsAre("a", "b", "c"));
  EXPECT_THAT(metrics.average, Near((0.7 + 0.85 + 0.6) / 3));
  EXPECT_THAT(metrics.backward_transfer, Near(((0.7 - 0.9) + (0.85 - 0.8)) / 2));
  EXPECT_THAT(metrics.forgetting, Near(((0.95 - 0.7) + (0.8 - 0.85)) / 2));
}

TEST(StreamMetrics, ASingleTaskHasNothingToForget) {
  const StreamMetrics metrics = Only(Accuracies({"a"}, {"a"}, {{0.8}}));
  EXPECT_THAT(metrics.average, Near(0.8));
  EXPECT_EQ(metrics.backward_transfer, std::nullopt);
  EXPECT_EQ(metrics.forgetting, std::nullopt);
}

TEST(StreamMetrics, NoMatrixHasNoMetrics) {
  EXPECT_THAT(ComputeStreamMetrics(Version({})), IsEmpty());
  EXPECT_THAT(ComputeStreamMetrics(Version({"a", "b"})), IsEmpty());
}

TEST(StreamMetrics, WhatTheLastRowDoesNotHoldIsNotGuessed) {
  // As a training leaves it: the row holds what it trained.
  const StreamMetrics metrics = Only(Accuracies({"a", "b"}, {"a", "b"}, {{0.9, kAbsent}, {kAbsent, 0.8}}));
  EXPECT_THAT(metrics.tasks, ElementsAre("a", "b"));
  EXPECT_EQ(metrics.average, std::nullopt);
  EXPECT_EQ(metrics.backward_transfer, std::nullopt);
  EXPECT_EQ(metrics.forgetting, std::nullopt);
}

TEST(StreamMetrics, AScoreThatWasNotTakenAfterTrainingLeavesTheTransferOpenAndForgettingToTheOthers) {
  const StreamMetrics metrics = Only(
      Accuracies({"a", "b", "c"}, {"a", "b", "c"}, {{kAbsent, kAbsent, kAbsent}, {0.75, 0.8, kAbsent}, {0.5, 0.7, 1}}));
  EXPECT_THAT(metrics.average, Near((0.5 + 0.7 + 1) / 3));
  EXPECT_EQ(metrics.backward_transfer, std::nullopt);
  EXPECT_THAT(metrics.forgetting, Near(((0.75 - 0.5) + (0.8 - 0.7)) / 2));
}

TEST(StreamMetrics, ATaskThatWasTrainedAgainCountsFromItsLastTraining) {
  // b was learned last, a twice before.
  const StreamMetrics metrics =
      Only(Accuracies({"a", "a", "b"}, {"a", "b"}, {{0.9, kAbsent}, {0.8, kAbsent}, {0.5, 0.7}}));
  EXPECT_THAT(metrics.backward_transfer, Near(0.5 - 0.8));
  EXPECT_THAT(metrics.forgetting, Near(0.9 - 0.5));
  // a trained again after b: b is the one that may have been forgotten.
  const StreamMetrics again = Only(Accuracies({"a", "b", "a"}, {"a", "b"}, {{0.9, kAbsent}, {0.4, 0.8}, {0.95, 0.6}}));
  EXPECT_THAT(again.average, Near((0.95 + 0.6) / 2));
  EXPECT_THAT(again.backward_transfer, Near(0.6 - 0.8));
  EXPECT_THAT(again.forgetting, Near(0.8 - 0.6));
}

TEST(StreamMetrics, TrainingsAndEvaluationsFillTheMatrix) {
  VersionManifest manifest = Version({"a"});
  EnterTraining("a", {{{"a", "accuracy", 0.9}, {"a", "loss", 0.3}}}, manifest);
  ASSERT_THAT(manifest.metrics, SizeIs(1));
  EXPECT_EQ(manifest.metrics[0], (MetricsMatrix{"accuracy", {"a"}, {"a"}, {{0.9}}}));

  manifest.tasks = Version({"a", "b"}).tasks;
  EnterTraining("b", {{{"b", "accuracy", 0.8}}}, manifest);
  EXPECT_EQ(manifest.metrics[0], (MetricsMatrix{"accuracy", {"a", "b"}, {"a", "b"}, {{0.9, kAbsent}, {kAbsent, 0.8}}}));

  // A task that the version has not learned, and a metric that no training measured, are left out.
  EnterEvaluation({{{"a", "accuracy", 0.6}, {"b", "accuracy", 0.7}, {"x", "accuracy", 1}, {"a", "brier", 0.1}}},
                  manifest);
  ASSERT_THAT(manifest.metrics, SizeIs(1));
  EXPECT_EQ(manifest.metrics[0], (MetricsMatrix{"accuracy", {"a", "b"}, {"a", "b"}, {{0.9, kAbsent}, {0.6, 0.7}}}));
  const StreamMetrics metrics = Only(manifest);
  EXPECT_THAT(metrics.average, Near(0.65));
  EXPECT_THAT(metrics.backward_transfer, Near(0.6 - 0.9));
  EXPECT_THAT(metrics.forgetting, Near(0.9 - 0.6));
}

TEST(StreamMetrics, ATrainingOfAnotherKindIsARowToo) {
  VersionManifest manifest = Version({"a"});
  EnterTraining("a", {{{"a", "accuracy", 0.9}}}, manifest);
  manifest.tasks = Version({"a", "tags"}).tasks;
  EnterTraining("tags", {{{"tags", "entity_f1", 0.5}, {"tags", "tag_accuracy", 0.9}}}, manifest);
  ASSERT_THAT(manifest.metrics, SizeIs(2));
  EXPECT_EQ(manifest.metrics[0], (MetricsMatrix{"accuracy", {"a", "tags"}, {"a"}, {{0.9}, {kAbsent}}}));
  EXPECT_EQ(manifest.metrics[1], (MetricsMatrix{"entity_f1", {"a", "tags"}, {"tags"}, {{kAbsent}, {0.5}}}));
  EnterEvaluation({{{"a", "accuracy", 0.7}}}, manifest);
  const std::vector<StreamMetrics> all = ComputeStreamMetrics(manifest);
  ASSERT_THAT(all, SizeIs(2));
  // The tagger made the classifier forget, though it is the only task of its kind.
  EXPECT_EQ(all[0].metric, "accuracy");
  EXPECT_THAT(all[0].backward_transfer, Near(0.7 - 0.9));
  EXPECT_EQ(all[1].metric, "entity_f1");
  EXPECT_THAT(all[1].tasks, ElementsAre("tags"));
  EXPECT_THAT(all[1].average, Near(0.5));
  EXPECT_EQ(all[1].backward_transfer, std::nullopt);
}

TEST(StreamMetrics, ATrainingThatLeftNoRowIsNotTakenForTheOneBefore) {
  // As older programs wrote it: b had no test part, so the matrix ends with a.
  VersionManifest manifest = Version({"a", "b"});
  manifest.metrics.push_back({"accuracy", {"a"}, {"a"}, {{0.9}}});
  EnterEvaluation({{{"a", "accuracy", 0.6}, {"b", "accuracy", 0.8}}}, manifest);
  EXPECT_EQ(manifest.metrics[0], (MetricsMatrix{"accuracy", {"a", "b"}, {"a", "b"}, {{0.9, kAbsent}, {0.6, 0.8}}}));
  EXPECT_THAT(Only(manifest).backward_transfer, Near(0.6 - 0.9));
  // The first one that is measured finds a stream that is longer than its matrix.
  VersionManifest late = Version({"a", "b"});
  EnterTraining("a", {{{"a", "accuracy", 0.9}}}, late);
  EXPECT_EQ(late.metrics[0], (MetricsMatrix{"accuracy", {"b", "a"}, {"a"}, {{kAbsent}, {0.9}}}));
}

TEST(StreamMetrics, ScoresOfTasksSayWhatWasLost) {
  // a: best 0.95 before the last training, 0.7 after it; b was never measured after its own; c is new; t has no matrix.
  VersionManifest manifest = Accuracies({"a", "b", "c"}, {"a", "b", "c"},
                                        {{0.9, kAbsent, kAbsent}, {0.95, 0.8, kAbsent}, {0.7, kAbsent, 0.6}});
  manifest.tasks.push_back(Version({"t"}).tasks[0]);
  checkpoint::ManifestTask masked;
  masked.name = "m";
  masked.kind = TaskKind::kMaskedLanguageModel;
  manifest.tasks.push_back(masked);
  EXPECT_THAT(ScoresOfTasks(manifest),
              ElementsAre(TaskScore{"a", "accuracy", 0.7, 0.95, true}, TaskScore{"b", "accuracy", kAbsent, 0.8, true},
                          TaskScore{"c", "accuracy", 0.6, kAbsent, false},
                          TaskScore{"t", "entity_f1", kAbsent, kAbsent, true}));
  // A task that is trained again was learned before, too.
  EXPECT_THAT(ScoresOfTasks(Accuracies({"a", "a"}, {"a"}, {{0.9}, {0.8}})),
              ElementsAre(TaskScore{"a", "accuracy", 0.8, 0.9, true}));
  EXPECT_THAT(ScoresOfTasks(Version({"a"})), ElementsAre(TaskScore{"a", "accuracy", kAbsent, kAbsent, false}));
}

}  // namespace
}  // namespace engram::continual
