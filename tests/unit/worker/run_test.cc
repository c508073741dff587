// What a run leaves: the record in engram.json, the numbers of its result, and what it says on the way.

#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "core/tokenize/tokenizer.h"
#include "core/train/evaluate.h"
#include "core/train/version_memory.h"
#include "server/worker/measure.h"
#include "tests/unit/worker/run_fixture.h"

namespace engram::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::Optional;
using ::testing::Pair;

using Row = std::vector<std::optional<double>>;

// The share of the four test texts whose first letter the version in `directory` names: by its logits alone.
double AccuracyByHand(const std::string& directory, const std::string& task, char one, char other) {
  auto version = nn::LoadVersion(directory, {});
  auto tokenizer = tokenize::LoadTokenizer(directory);
  EXPECT_TRUE(version.ok() && tokenizer.ok());
  std::vector<train::TrainingExample> examples(4);
  for (int i = 0; i < 4; ++i) {
    const char first = i % 2 == 0 ? one : other;
    const std::string text = std::string(1, first) + static_cast<char>('e' + 10 + i) + " xx";
    examples[static_cast<size_t>(i)].sequence.ids = (*tokenizer)->Encode(text, {})->ids;
  }
  train::TaskSpec spec;
  spec.name = task;
  spec.labels = 2;
  const auto logits = train::PredictLogits(*version->model, spec, examples, {});
  EXPECT_TRUE(logits.ok()) << logits.status();
  double right = 0;
  for (size_t i = 0; i < 4; ++i) right += (*logits)[i].argmax().item<int64_t>() == static_cast<int64_t>(i % 2) ? 1 : 0;
  return right / 4;
}

TEST_F(RunTest, TrainingCountsMeasuresAndRecords) {
  const auto dataset = FirstLetters("letters-ab", 'a', 'b');
  const auto spec = TrainSpec(root_ + "/base", 1, "ab", dataset, {"a", "b"});
  const engram::v1::JobResult result = Done(spec, root_ + "/run");
  // Ten texts in batches of 4, 4 and 2, twice; 6 tokens each: [CLS] a ##e x ##x [SEP].
  EXPECT_EQ(result.steps(), 6);
  EXPECT_EQ(result.tokens(), 2 * 10 * 6);
  EXPECT_FALSE(result.stopped_early());
  const std::string output = root_ + "/run/output";
  const double accuracy = Metric(result, "ab", "accuracy");
  EXPECT_EQ(accuracy, AccuracyByHand(output, "ab", 'a', 'b'));
  ASSERT_EQ(result.confusions_size(), 1);
  EXPECT_THAT(result.confusions(0).labels(), ElementsAre("a", "b"));
  const auto& counts = result.confusions(0).counts();
  EXPECT_EQ(counts[0] + counts[1], 2);
  EXPECT_EQ(counts[2] + counts[3], 2);
  EXPECT_EQ(counts[0] + counts[3], 4 * accuracy);

  const checkpoint::VersionManifest manifest = Manifest(output);
  EXPECT_EQ(manifest.model, "letters");
  EXPECT_EQ(manifest.version, 2);
  EXPECT_THAT(manifest.parent, Optional(1));
  EXPECT_EQ(manifest.strategy, "naive");
  EXPECT_THAT(manifest.seeds, ElementsAre(Pair("training", 7)));
  ASSERT_EQ(manifest.tasks.size(), 1U);
  EXPECT_EQ(manifest.tasks[0].name, "ab");
  EXPECT_THAT(manifest.tasks[0].labels, ElementsAre("a", "b"));
  EXPECT_EQ(manifest.tasks[0].dataset, "letters-ab");
  EXPECT_EQ(manifest.tasks[0].dataset_digest, dataset.digest());
  EXPECT_EQ(manifest.tasks[0].training_examples, 10);
  ASSERT_EQ(manifest.metrics.size(), 1U);
  EXPECT_EQ(manifest.metrics[0].metric, "accuracy");
  EXPECT_THAT(manifest.metrics[0].values, ElementsAre(Row{accuracy}));

  EXPECT_EQ(Phases(), "loading;training;evaluating ab;saving;");
  std::vector<int64_t> steps;
  for (const auto& event : events) {
    if (event.progress().phase() != "training") continue;
    steps.push_back(event.progress().step());
    EXPECT_EQ(event.progress().total_steps(), 6);
    EXPECT_EQ(event.progress().epochs(), 2);
    EXPECT_EQ(event.progress().epoch(), event.progress().step() <= 3 ? 1 : 2);
  }
  EXPECT_THAT(steps, ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST_F(RunTest, ASecondTaskIsASecondRowAndOneThatIsTrainedAgainKeepsItsPlace) {
  const auto ab = FirstLetters("letters-ab", 'a', 'b'), cd = FirstLetters("letters-cd", 'c', 'd');
  const double first =
      Metric(Done(TrainSpec(root_ + "/base", 1, "ab", ab, {"a", "b"}), root_ + "/1"), "ab", "accuracy");
  const double second =
      Metric(Done(TrainSpec(root_ + "/1/output", 2, "cd", cd, {"c", "d"}), root_ + "/2"), "cd", "accuracy");
  const auto other = FirstLetters("letters-more", 'a', 'b');
  const double third =
      Metric(Done(TrainSpec(root_ + "/2/output", 3, "ab", other, {"a", "b"}), root_ + "/3"), "ab", "accuracy");
  const checkpoint::VersionManifest manifest = Manifest(root_ + "/3/output");
  EXPECT_EQ(manifest.version, 4);
  ASSERT_EQ(manifest.tasks.size(), 2U);
  EXPECT_EQ(manifest.tasks[0].name, "ab");
  EXPECT_EQ(manifest.tasks[0].dataset, "letters-more");
  EXPECT_EQ(manifest.tasks[1].name, "cd");
  ASSERT_EQ(manifest.metrics.size(), 1U);
  EXPECT_THAT(manifest.metrics[0].tasks, ElementsAre("ab", "cd"));
  EXPECT_THAT(manifest.metrics[0].after, ElementsAre("ab", "cd", "ab"));
  EXPECT_THAT(manifest.metrics[0].values,
              ElementsAre(Row{first, std::nullopt}, Row{std::nullopt, second}, Row{third, std::nullopt}));
}

TEST_F(RunTest, ARunThatIsStoppedGoesOnToTheSameBits) {
  const auto dataset = FirstLetters("letters-ab", 'a', 'b');
  auto spec = TrainSpec(root_ + "/base", 1, "ab", dataset, {"a", "b"});
  Done(spec, root_ + "/whole");
  const RunResult stopped = Run(spec, root_ + "/cut", train::StopRequest::kCheckpoint);
  ASSERT_TRUE(stopped.ok()) << stopped.status();
  EXPECT_FALSE(stopped->has_value());
  EXPECT_TRUE(PathExists(root_ + "/cut/checkpoint.safetensors"));
  ASSERT_FALSE(events.empty());
  EXPECT_TRUE(events.back().has_checkpoint_step());
  EXPECT_EQ(events.back().checkpoint_step(), 0);
  Done(spec, root_ + "/cut");
  const auto of = [&](const std::string& run) { return Manifest(root_ + run + "/output").files["model.safetensors"]; };
  EXPECT_EQ(of("/cut"), of("/whole"));
  EXPECT_TRUE(absl::IsCancelled(Run(spec, root_ + "/none", train::StopRequest::kCancel).status()));
}

TEST_F(RunTest, ADataSetThatIsNotWhatWasUploadedIsRefused) {
  const auto dataset = FirstLetters("letters-ab", 'a', 'b');
  EXPECT_TRUE(VerifyDataset(dataset).ok());
  const auto spec = TrainSpec(root_ + "/base", 1, "ab", dataset, {"a", "b"});
  for (const std::string& path : {dataset.training_path(), dataset.test_path()}) {
    const std::string whole = *ReadFile(path);
    ASSERT_TRUE(WriteFileAtomic(path, whole + "\n").ok());
    EXPECT_EQ(StatusReason(VerifyDataset(dataset)), "DATASET_DAMAGED");
    EXPECT_EQ(StatusReason(Run(spec, root_ + "/run").status()), "DATASET_DAMAGED");
    ASSERT_TRUE(WriteFileAtomic(path, whole).ok());
  }
  EXPECT_TRUE(VerifyDataset(dataset).ok());
}

// The record in engram.json is what the job was planned with, and a job that says less is not filled in with defaults.
TEST_F(RunTest, TheStrategysOptionsAreRecordedAndMustAllBeThere) {
  const auto dataset = FirstLetters("letters-ab", 'a', 'b');
  auto spec = TrainSpec(root_ + "/base", 1, "ab", dataset, {"a", "b"});
  Done(spec, root_ + "/1");
  const checkpoint::VersionManifest manifest = Manifest(root_ + "/1/output");
  EXPECT_TRUE(manifest.strategy_options.empty());
  EXPECT_EQ(manifest.training_options.at("epochs"), "2");
  EXPECT_EQ(manifest.training_options.at("seed"), "7");
  EXPECT_FALSE(manifest.training_options.contains("lambda"));
  EXPECT_FALSE(manifest.software.at("engram").empty());
  spec.mutable_train()->set_strategy("online_ewc");
  auto& options = *spec.mutable_train()->mutable_strategy_options();
  options["lambda"] = "3";
  options["penalty_mode"] = "auto";
  EXPECT_EQ(StatusReason(Run(spec, root_ + "/2").status()), "JOB_OF_ANOTHER_VERSION");
  options["gamma"] = "0.5";
  EXPECT_EQ(StatusReason(Run(spec, root_ + "/2").status()), "NOT_CONSOLIDATED");
  options["tau"] = "0.5";
  EXPECT_EQ(StatusField(Run(spec, root_ + "/2").status()), "tau");
}

TEST_F(RunTest, ConsolidationKeepsTheWeightsAndReplacesWhatItTookBefore) {
  const auto dataset = FirstLetters("letters-ab", 'a', 'b');
  Done(TrainSpec(root_ + "/base", 1, "ab", dataset, {"a", "b"}), root_ + "/1");
  auto spec = Spec(root_ + "/1/output", 2);
  spec.mutable_consolidate()->set_task("ab");
  *spec.mutable_consolidate()->mutable_dataset() = dataset;
  spec.mutable_consolidate()->set_fisher("exact");
  const engram::v1::JobResult result = Done(spec, root_ + "/2");
  EXPECT_EQ(result.fisher_samples(), 10);
  EXPECT_EQ(result.tokens(), 10 * 6);
  EXPECT_GT(result.fisher_trace(), 0);
  EXPECT_TRUE(std::isfinite(result.fisher_trace()));
  EXPECT_EQ(Phases(), "loading;importance;saving;");
  const checkpoint::VersionManifest manifest = Manifest(root_ + "/2/output");
  EXPECT_EQ(manifest.files.at("model.safetensors"), Manifest(root_ + "/1/output").files.at("model.safetensors"));
  EXPECT_THAT(manifest.parent, Optional(2));
  ASSERT_EQ(manifest.consolidations.size(), 1U);
  EXPECT_EQ(manifest.consolidations[0].task, "ab");
  EXPECT_EQ(manifest.consolidations[0].fisher, "exact");
  EXPECT_EQ(manifest.consolidations[0].samples, 10);
  EXPECT_EQ(manifest.consolidations[0].training_examples, 10);

  spec.set_base_directory(root_ + "/2/output");
  spec.mutable_consolidate()->set_fisher("sampled");
  spec.mutable_consolidate()->set_samples(4);
  const engram::v1::JobResult again = Done(spec, root_ + "/3");
  EXPECT_EQ(again.fisher_samples(), 4);
  EXPECT_EQ(again.tokens(), 4 * 6);
  const checkpoint::VersionManifest replaced = Manifest(root_ + "/3/output");
  ASSERT_EQ(replaced.consolidations.size(), 1U);
  EXPECT_EQ(replaced.consolidations[0].fisher, "sampled");
  EXPECT_EQ(replaced.consolidations[0].samples, 4);
  EXPECT_EQ(replaced.consolidations[0].training_examples, 10) << "N of the task is not the sample's size";
}

// What a strategy remembers comes to the next task that it learns, through a consolidation and through a task that
// another strategy learned in between.
TEST_F(RunTest, WhatAStrategyRemembersStaysWithTheLineUntilItRemembersMore) {
  const auto ab = FirstLetters("letters-ab", 'a', 'b'), cd = FirstLetters("letters-cd", 'c', 'd');
  const auto replay = [&](engram::worker::v1::RunSpec spec) {
    spec.mutable_train()->set_strategy("er");
    (*spec.mutable_train()->mutable_strategy_options())["memory_size"] = "6";
    (*spec.mutable_train()->mutable_strategy_options())["memory"] = "balanced";
    (*spec.mutable_train()->mutable_strategy_options())["replay_batch"] = "2";
    return spec;
  };
  Done(replay(TrainSpec(root_ + "/base", 1, "ab", ab, {"a", "b"})), root_ + "/1");
  const auto first = train::ReadVersionMemory(root_ + "/1/output", "er");
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_EQ(first->examples.size(), 6U);
  std::set<int64_t> sources;
  for (const train::StoredExample& stored : first->examples) {
    EXPECT_EQ(stored.task, "ab");
    // Labels alternate in the data set, so the number of the text says which it must have.
    EXPECT_EQ(stored.example.label, stored.example.source % 2);
    sources.insert(stored.example.source);
  }
  EXPECT_EQ(sources.size(), 6U);

  auto consolidate = Spec(root_ + "/1/output", 2);
  consolidate.mutable_consolidate()->set_task("ab");
  *consolidate.mutable_consolidate()->mutable_dataset() = ab;
  consolidate.mutable_consolidate()->set_fisher("sampled");
  Done(consolidate, root_ + "/2");
  Done(TrainSpec(root_ + "/2/output", 3, "cd", cd, {"c", "d"}), root_ + "/3");
  const std::string file = checkpoint::MemoryFile("er");
  EXPECT_EQ(Manifest(root_ + "/3/output").files.at(file), Manifest(root_ + "/1/output").files.at(file));
  ASSERT_EQ(Manifest(root_ + "/3/output").memory.size(), 1U);

  Done(replay(TrainSpec(root_ + "/3/output", 4, "cd", cd, {"c", "d"})), root_ + "/4");
  const checkpoint::VersionManifest manifest = Manifest(root_ + "/4/output");
  ASSERT_EQ(manifest.memory.size(), 1U);
  EXPECT_EQ(manifest.memory[0].strategy, "er");
  EXPECT_EQ(manifest.memory[0].rows, 6);
  EXPECT_NE(manifest.files.at(file), Manifest(root_ + "/3/output").files.at(file));
  const auto second = train::ReadVersionMemory(root_ + "/4/output", "er");
  ASSERT_TRUE(second.ok()) << second.status();
  std::map<std::string, int> held;
  for (const train::StoredExample& stored : second->examples) ++held[stored.task];
  EXPECT_EQ(held, (std::map<std::string, int>{{"ab", 3}, {"cd", 3}}));
}

// The figures of each label against a recount from the model's own logits.
TEST_F(RunTest, EachLabelIsMeasuredAndKeptWithTheVersion) {
  const auto dataset = FirstLetters("letters-ab", 'a', 'b');
  const auto result = Done(TrainSpec(root_ + "/base", 1, "ab", dataset, {"a", "b"}), root_ + "/1");
  ASSERT_EQ(result.label_metrics_size(), 2);
  const auto& counts = result.confusions(0).counts();  // rows: true, columns: predicted
  for (int label = 0; label < 2; ++label) {
    const auto& of = result.label_metrics(label);
    const double right = static_cast<double>(counts[label * 3]), support = 2;
    const double predicted = static_cast<double>(counts[label] + counts[2 + label]);
    EXPECT_EQ(of.label(), label == 0 ? "a" : "b");
    EXPECT_EQ(of.support(), 2);
    EXPECT_EQ(of.part(), engram::v1::MEASURED_PART_TEST);
    EXPECT_DOUBLE_EQ(of.recall(), right / support);
    EXPECT_DOUBLE_EQ(of.precision(), predicted == 0 ? 0 : right / predicted);
    EXPECT_DOUBLE_EQ(of.f1(), 2 * right / (predicted + support));
  }
  const checkpoint::VersionManifest manifest = Manifest(root_ + "/1/output");
  ASSERT_EQ(manifest.measured.size(), 1U);
  EXPECT_EQ(manifest.measured[0].task, "ab");
  EXPECT_EQ(manifest.measured[0].part, "test");
  EXPECT_EQ(manifest.measured[0].texts, 4);
  EXPECT_EQ(manifest.measured[0].metrics.at("accuracy"), Metric(result, "ab", "accuracy"));
  ASSERT_EQ(manifest.measured[0].labels.size(), 2U);
  EXPECT_EQ(manifest.measured[0].labels[1].recall, result.label_metrics(1).recall());
}

TEST_F(RunTest, ATrainingWithoutATestPartSaysWhichFigureItHas) {
  const auto whole = FirstLetters("letters-ab", 'a', 'b');
  const std::string training = *ReadFile(whole.training_path()), test = *ReadFile(whole.test_path());
  // No figure at all.
  const auto bare = MakeDataset("bare", training, "");
  const auto none = Done(TrainSpec(root_ + "/base", 1, "ab", bare, {"a", "b"}), root_ + "/none");
  EXPECT_EQ(none.metrics_size(), 0);
  EXPECT_EQ(none.label_metrics_size(), 0);
  EXPECT_THAT(warnings, ElementsAre(::testing::StartsWith("NOT_MEASURED: ")));
  EXPECT_TRUE(Manifest(root_ + "/none/output").measured.empty());

  // Three of the ten are held out.
  auto spec = TrainSpec(root_ + "/base", 1, "ab", bare, {"a", "b"});
  (*spec.mutable_train()->mutable_options())["validation_fraction"] = "0.3";
  const auto held_out = Done(spec, root_ + "/held");
  EXPECT_THAT(warnings, ElementsAre(::testing::StartsWith("VALIDATION_FIGURES: ")));
  ASSERT_GT(held_out.metrics_size(), 0);
  for (const auto& metric : held_out.metrics()) {
    EXPECT_EQ(metric.part(), engram::v1::MEASURED_PART_VALIDATION);
    EXPECT_EQ(metric.count(), 3);
    EXPECT_FALSE(metric.own_test_part());
  }
  EXPECT_EQ(held_out.label_metrics(0).support() + held_out.label_metrics(1).support(), 3);
  EXPECT_EQ(Manifest(root_ + "/held/output").measured.at(0).part, "validation");
  EXPECT_TRUE(Manifest(root_ + "/held/output").metrics.empty()) << "the stream stands on test parts alone";

  // A validation part of its own: nothing is held out, so that the weights are those without one, and the figure is
  // what the test part had.
  auto own = MakeDataset("own", training, "");
  own.set_validation_path(root_ + "/own.validation");
  ASSERT_TRUE(WriteFileAtomic(own.validation_path(), test).ok());
  EXPECT_EQ(StatusReason(VerifyDataset(own)), "DATASET_DAMAGED");
  own.set_digest(Sha256Hex(Sha256Hex(training) + Sha256Hex("") + Sha256Hex(test)));
  const auto validated = Done(TrainSpec(root_ + "/base", 1, "ab", own, {"a", "b"}), root_ + "/own-run");
  const auto tested = Done(TrainSpec(root_ + "/base", 1, "ab", whole, {"a", "b"}), root_ + "/whole");
  for (const char* metric : {"accuracy", "loss", "macro_f1", "brier"})
    EXPECT_EQ(Metric(validated, "ab", metric), Metric(tested, "ab", metric)) << metric;
  EXPECT_EQ(validated.metrics(0).part(), engram::v1::MEASURED_PART_VALIDATION);
  EXPECT_EQ(validated.metrics(0).count(), 4);
  EXPECT_EQ(Manifest(root_ + "/own-run/output").files["model.safetensors"],
            Manifest(root_ + "/none/output").files["model.safetensors"]);
}

TEST_F(RunTest, EvaluationMeasuresTheTestPartAndAllPartsWithoutOne) {
  const auto dataset = FirstLetters("letters-ab", 'a', 'b');
  const engram::v1::JobResult trained = Done(TrainSpec(root_ + "/base", 1, "ab", dataset, {"a", "b"}), root_ + "/1");
  auto spec = Spec(root_ + "/1/output", 2, /*makes_version=*/false);
  auto* item = spec.mutable_evaluate()->add_items();
  item->set_task("ab");
  *item->mutable_dataset() = dataset;
  const engram::v1::JobResult result = Done(spec, root_ + "/2");
  EXPECT_EQ(result.tokens(), 4 * 6);
  EXPECT_EQ(Metric(result, "ab", "accuracy"), Metric(trained, "ab", "accuracy"));
  for (const auto& metric : result.metrics()) EXPECT_EQ(metric.count(), 4) << metric.metric();
  EXPECT_EQ(Phases(), "loading;evaluating ab;");

  *item->mutable_dataset() = MakeDataset("no-test", *ReadFile(dataset.training_path()), "");
  const auto others = Done(spec, root_ + "/3");
  EXPECT_EQ(others.tokens(), 10 * 6);
  for (const auto& metric : others.metrics()) EXPECT_EQ(metric.part(), engram::v1::MEASURED_PART_OTHER);
  for (const auto& metric : result.metrics()) EXPECT_EQ(metric.part(), engram::v1::MEASURED_PART_TEST);
  // Rows that it was trained on are called that everywhere.
  Done(TrainSpec(root_ + "/base", 1, "ab", item->dataset(), {"a", "b"}), root_ + "/4");
  spec.set_base_directory(root_ + "/4/output");
  const auto seen = Done(spec, root_ + "/5");
  EXPECT_THAT(warnings, ElementsAre(::testing::StartsWith("TRAINING_ROWS: ")));
  for (const auto& metric : seen.metrics()) EXPECT_EQ(metric.part(), engram::v1::MEASURED_PART_TRAINING);
  for (const auto& label : seen.label_metrics()) EXPECT_EQ(label.part(), engram::v1::MEASURED_PART_TRAINING);
  item->set_task("never-learned");
  EXPECT_TRUE(absl::IsNotFound(Run(spec, root_ + "/6").status()));
}

TEST_F(RunTest, EvaluationsFillTheStreamAndEnterTheNextVersionsMatrix) {
  const auto ab = FirstLetters("letters-ab", 'a', 'b'), cd = FirstLetters("letters-cd", 'c', 'd');
  const double learned =
      Metric(Done(TrainSpec(root_ + "/base", 1, "ab", ab, {"a", "b"}), root_ + "/1"), "ab", "accuracy");
  Done(TrainSpec(root_ + "/1/output", 2, "cd", cd, {"c", "d"}), root_ + "/2");
  auto evaluate = Spec(root_ + "/2/output", 3, /*makes_version=*/false);
  for (const auto& [task, dataset] : {std::pair("ab", &ab), std::pair("cd", &cd)}) {
    auto* item = evaluate.mutable_evaluate()->add_items();
    item->set_task(task);
    *item->mutable_dataset() = *dataset;
  }
  const engram::v1::JobResult all = Done(evaluate, root_ + "/3");
  const double ab_now = Metric(all, "ab", "accuracy"), cd_now = Metric(all, "cd", "accuracy");
  ASSERT_EQ(all.stream_metrics_size(), 1);
  const engram::v1::StreamMetrics& stream = all.stream_metrics(0);
  EXPECT_EQ(stream.metric(), "accuracy");
  EXPECT_THAT(stream.tasks(), ElementsAre("models/letters/tasks/ab", "models/letters/tasks/cd"));
  EXPECT_DOUBLE_EQ(stream.average(), (ab_now + cd_now) / 2);
  EXPECT_DOUBLE_EQ(stream.backward_transfer(), ab_now - learned);
  EXPECT_DOUBLE_EQ(stream.forgetting(), learned - ab_now);

  // One task alone does not say how the whole stream stands, but for what was measured before.
  auto one = evaluate;
  one.mutable_evaluate()->mutable_items()->RemoveLast();
  EXPECT_DOUBLE_EQ(Done(one, root_ + "/4").stream_metrics(0).backward_transfer(), ab_now - learned);

  // A training and a consolidation take over what was measured on the version that they start from.
  auto third = TrainSpec(root_ + "/2/output", 3, "ef", FirstLetters("letters-ef", 'e', 'f'), {"e", "f"});
  *third.mutable_base_metrics() = all.metrics();
  const double ef_now = Metric(Done(third, root_ + "/5"), "ef", "accuracy");
  EXPECT_THAT(Manifest(root_ + "/5/output").metrics[0].values,
              ElementsAre(Row{learned, std::nullopt, std::nullopt}, Row{ab_now, cd_now, std::nullopt},
                          Row{std::nullopt, std::nullopt, ef_now}));
  auto consolidate = Spec(root_ + "/2/output", 3);
  consolidate.mutable_consolidate()->set_task("cd");
  consolidate.mutable_consolidate()->set_fisher("exact");
  *consolidate.mutable_consolidate()->mutable_dataset() = cd;
  *consolidate.mutable_base_metrics() = all.metrics();
  Done(consolidate, root_ + "/6");
  EXPECT_THAT(Manifest(root_ + "/6/output").metrics[0].values,
              ElementsAre(Row{learned, std::nullopt}, Row{ab_now, cd_now}));
}

TEST_F(RunTest, OnlyTheTestPartOfATasksOwnDataSetCountsForTheStream) {
  const auto ab = FirstLetters("letters-ab", 'a', 'b');
  const engram::v1::JobResult trained = Done(TrainSpec(root_ + "/base", 1, "ab", ab, {"a", "b"}), root_ + "/1");
  for (const auto& metric : trained.metrics()) EXPECT_TRUE(metric.own_test_part()) << metric.metric();
  auto spec = Spec(root_ + "/1/output", 2, /*makes_version=*/false);
  auto* item = spec.mutable_evaluate()->add_items();
  item->set_task("ab");
  // All answers are wrong there, so that the average would tell.
  std::string wrong;
  for (const char first : {'a', 'b'}) {
    wrong += std::string(R"({"text":")") + first + R"(e xx","label":")" + (first == 'a' ? 'b' : 'a') + "\"}\n";
  }
  for (const auto& other : {MakeDataset("wrong", *ReadFile(ab.training_path()), wrong),
                            MakeDataset("no-test", *ReadFile(ab.training_path()), "")}) {
    *item->mutable_dataset() = other;
    const engram::v1::JobResult result = Done(spec, root_ + "/" + other.name());
    for (const auto& metric : result.metrics()) EXPECT_FALSE(metric.own_test_part()) << metric.metric();
    ASSERT_EQ(result.stream_metrics_size(), 1);
    EXPECT_EQ(result.stream_metrics(0).average(), Metric(trained, "ab", "accuracy"));
  }
}

TEST_F(RunTest, AMaskedLanguageModelIsMeasuredInPerplexity) {
  std::string rows;
  for (char c = 'a'; c < 'i'; ++c) rows += std::string(R"({"text":"q)") + c + " zz\"}\n";
  auto spec = TrainSpec(root_ + "/base", 1, "words", MakeDataset("plain", rows, rows), {});
  spec.mutable_train()->set_kind("masked_language_model");
  spec.mutable_train()->set_pooling("standard");
  const engram::v1::JobResult result = Done(spec, root_ + "/run");
  EXPECT_NEAR(Metric(result, "words", "perplexity"), std::exp(Metric(result, "words", "loss")), 1e-9);
  const checkpoint::VersionManifest manifest = Manifest(root_ + "/run/output");
  ASSERT_EQ(manifest.metrics.size(), 1U);
  EXPECT_EQ(manifest.metrics[0].metric, "perplexity");
}

TEST_F(RunTest, TextsThatWereCutAreWarnedOf) {
  // 30 letters are 32 tokens; the model has 24 positions.
  std::string rows = std::string(R"({"text":")") + std::string(30, 'a') + "\",\"label\":\"a\"}\n";
  rows += "{\"text\":\"b\",\"label\":\"b\"}\n";
  const auto spec = TrainSpec(root_ + "/base", 1, "ab", MakeDataset("long", rows, ""), {"a", "b"});
  Done(spec, root_ + "/run");
  EXPECT_THAT(warnings,
              ElementsAre(::testing::HasSubstr("1 of 2 training texts"), ::testing::StartsWith("NOT_MEASURED: ")));
}

}  // namespace
}  // namespace engram::worker
