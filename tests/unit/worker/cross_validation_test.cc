// What a cross-validation measures, keeps and leaves.

#include <cmath>
#include <set>

#include "server/worker/fold_summary.h"
#include "tests/unit/worker/run_fixture.h"

namespace engram::worker {
namespace {

using engram::v1::CrossValidation;
using engram::v1::JobResult;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

void AddLabel(engram::v1::FoldResult& fold, const std::string& name, double f1, int64_t support) {
  engram::v1::LabelMetrics& label = *fold.add_label_metrics();
  label.set_label(name);
  label.set_precision(f1 / 2);
  label.set_recall(f1 / 4);
  label.set_f1(f1);
  label.set_support(support);
}

TEST(FoldSummary, MeansAndDeviationsOverTheFoldsThatHaveThem) {
  CrossValidation validation;
  for (const double value : {0.2, 0.4, 0.9}) {
    engram::v1::FoldResult& fold = *validation.add_folds();
    engram::v1::Metric& metric = *fold.add_metrics();
    metric.set_metric("accuracy");
    metric.set_value(value);
    AddLabel(fold, "often", value, 5);
    AddLabel(fold, "rare", value == 0.4 ? 0.8 : 0, value == 0.4 ? 2 : 0);
  }
  Summarize(validation);
  ASSERT_EQ(validation.metrics_size(), 1);
  const engram::v1::MetricSummary& accuracy = validation.metrics(0);
  EXPECT_NEAR(accuracy.mean(), 0.5, 1e-12);
  EXPECT_NEAR(accuracy.standard_deviation(), std::sqrt(0.13), 1e-12);  // (0.09 + 0.01 + 0.16) / 2
  EXPECT_EQ(accuracy.minimum(), 0.2);
  EXPECT_EQ(accuracy.maximum(), 0.9);
  EXPECT_EQ(accuracy.folds(), 3);
  ASSERT_EQ(validation.labels_size(), 2);
  EXPECT_NEAR(validation.labels(0).f1(), 0.5, 1e-12);
  EXPECT_NEAR(validation.labels(0).precision(), 0.25, 1e-12);
  EXPECT_NEAR(validation.labels(0).recall(), 0.125, 1e-12);
  EXPECT_EQ(validation.labels(0).support(), 15);
  // A fold without the label says nothing of it.
  EXPECT_EQ(validation.labels(1).label(), "rare");
  EXPECT_EQ(validation.labels(1).f1(), 0.8);
  EXPECT_EQ(validation.labels(1).f1_standard_deviation(), 0);
  EXPECT_EQ(validation.labels(1).folds(), 1);
}

TEST(FoldSummary, MedianOfEpochs) {
  EXPECT_EQ(Median({5}), 5);
  EXPECT_EQ(Median({9, 1, 2}), 2);
  EXPECT_EQ(Median({1, 2, 2, 8}), 2);
  EXPECT_EQ(Median({1, 4, 5, 8}), 5);
}

class CrossValidationTest : public RunTest {
 protected:
  // Twelve texts, two of them twice; the label is the first letter.
  engram::worker::v1::RunSpec FoldsSpec(int32_t folds, std::map<std::string, std::string> options = {}) {
    std::string rows;
    for (int i = 0; i < 14; ++i) {
      const char first = i % 2 == 0 ? 'a' : 'b';
      const std::string label(1, first), second(1, static_cast<char>('e' + i % 12));
      absl::StrAppend(&rows, R"({"text":")", label, second, R"( xx","label":")", label, "\"}\n");
    }
    engram::worker::v1::RunSpec spec = TrainSpec(root_ + "/base", 1, "ab", MakeDataset("folds", rows, ""), {"a", "b"});
    for (const auto& [key, value] : options) (*spec.mutable_train()->mutable_options())[key] = value;
    const engram::worker::v1::TrainWork train = spec.train();
    *spec.mutable_cross_validate()->mutable_train() = train;
    spec.mutable_cross_validate()->set_folds(folds);
    return spec;
  }
};

TEST_F(CrossValidationTest, MeasuresEachRowOnceAndLeavesOneVersionOfAll) {
  const JobResult result = Done(FoldsSpec(3), root_ + "/run");
  const CrossValidation& validation = result.cross_validation();
  EXPECT_EQ(validation.groups(), 12);
  EXPECT_EQ(validation.refit_epochs(), 2);
  ASSERT_EQ(validation.folds_size(), 3);
  int64_t measured = 0, steps = 0;
  for (const auto& fold : validation.folds()) {
    measured += fold.test_rows();
    EXPECT_EQ(fold.training_rows() + fold.test_rows(), 14);
    EXPECT_EQ(fold.development_rows(), 0);
    steps += 2 * ((fold.training_rows() + 3) / 4);
    std::set<std::string> names;
    for (const auto& metric : fold.metrics()) {
      names.insert(metric.metric());
      EXPECT_EQ(metric.count(), fold.test_rows());
      EXPECT_EQ(metric.part(), engram::v1::MEASURED_PART_FOLD);
      EXPECT_FALSE(metric.own_test_part());
    }
    EXPECT_TRUE(names.contains("accuracy") && names.contains("macro_f1"));
  }
  EXPECT_EQ(measured, 14);
  EXPECT_EQ(result.steps(), steps + 2 * 4);  // and two epochs over all fourteen
  // No figure of the version is one of a fold, and nothing says that it was not measured.
  EXPECT_EQ(result.metrics_size(), 0);
  for (const std::string& warning : warnings) EXPECT_THAT(warning, Not(HasSubstr("NOT_MEASURED")));
  const checkpoint::VersionManifest manifest = Manifest(root_ + "/run/output");
  ASSERT_EQ(manifest.tasks.size(), 1U);
  EXPECT_EQ(manifest.tasks[0].training_examples, 14);
  EXPECT_TRUE(manifest.metrics.empty());
  for (const char* fold : {"/run/fold-1", "/run/fold-2", "/run/fold-3"})
    EXPECT_THAT(*ListDirectory(root_ + fold), ElementsAre("result.binpb"));
  EXPECT_THAT(Phases(), HasSubstr("fold 2 of 3, training;"));
  EXPECT_THAT(Phases(), HasSubstr("all rows, training;"));
}

// Another process that finds the first fold done neither trains it again nor measures anything else.
TEST_F(CrossValidationTest, GoesOnWhereItWasInterrupted) {
  const JobResult whole = Done(FoldsSpec(3), root_ + "/whole");
  ASSERT_TRUE(MakeDirectories(root_ + "/parts/fold-1").ok());
  ASSERT_TRUE(
      WriteFileAtomic(root_ + "/parts/fold-1/result.binpb", *ReadFile(root_ + "/whole/fold-1/result.binpb")).ok());
  const RunResult stopped = Run(FoldsSpec(3), root_ + "/parts", train::StopRequest::kCheckpoint);
  ASSERT_TRUE(stopped.ok()) << stopped.status();
  EXPECT_FALSE(stopped->has_value());
  EXPECT_THAT(Phases(), Not(HasSubstr("fold 1 of 3")));
  const JobResult resumed = Done(FoldsSpec(3), root_ + "/parts");
  EXPECT_THAT(Phases(), Not(HasSubstr("fold 1 of 3")));
  ASSERT_EQ(resumed.cross_validation().metrics_size(), whole.cross_validation().metrics_size());
  for (int i = 0; i < whole.cross_validation().metrics_size(); ++i)
    EXPECT_EQ(resumed.cross_validation().metrics(i).mean(), whole.cross_validation().metrics(i).mean());
  EXPECT_EQ(*ReadFile(root_ + "/parts/output/model.safetensors"), *ReadFile(root_ + "/whole/output/model.safetensors"));
}

TEST_F(CrossValidationTest, EarlyStoppingLooksAtDevelopmentRowsAndSaysHowLongToTrain) {
  const JobResult result =
      Done(FoldsSpec(2, {{"epochs", "6"}, {"early_stopping_patience", "1"}, {"validation_fraction", "0.25"}}),
           root_ + "/run");
  std::vector<int64_t> best;
  for (int32_t fold = 1; fold <= 2; ++fold) {
    JobResult trained;
    ASSERT_TRUE(trained.ParseFromString(*ReadFile(root_ + "/run/fold-" + std::to_string(fold) + "/result.binpb")));
    EXPECT_GT(result.cross_validation().folds(fold - 1).development_rows(), 0);
    EXPECT_GT(trained.best_epoch(), 0);
    best.push_back(trained.best_epoch());
  }
  EXPECT_EQ(result.cross_validation().refit_epochs(), (best[0] + best[1] + 1) / 2);
  const checkpoint::VersionManifest manifest = Manifest(root_ + "/run/output");
  EXPECT_EQ(manifest.training_options.at("epochs"), std::to_string(result.cross_validation().refit_epochs()));
  EXPECT_EQ(manifest.training_options.at("validation_fraction"), "0");
}

TEST_F(CrossValidationTest, FewerGroupsThanFoldsAreAnError) {
  EXPECT_EQ(StatusReason(Run(FoldsSpec(13), root_ + "/run").status()), "TOO_FEW_GROUPS");
}

}  // namespace
}  // namespace engram::worker
