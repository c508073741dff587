// Which strength lambda=auto comes to, and what the search leaves.

#include "server/worker/strength_search.h"

#include <cmath>

#include "server/worker/measure.h"
#include "tests/unit/worker/run_fixture.h"

namespace engram::worker {
namespace {

using engram::v1::JobResult;
using engram::v1::StrengthSweep;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

struct Point {
  double strength, fresh, earlier;
};

StrengthSweep Curve(const std::vector<Point>& points) {
  StrengthSweep sweep;
  for (const Point& point : points) {
    auto& out = *sweep.add_points();
    out.set_strength(point.strength);
    out.set_new_score(point.fresh);
    out.set_earlier_score(point.earlier);
  }
  return sweep;
}

double Chosen(const std::vector<Point>& points, int64_t texts) {
  StrengthSweep sweep = Curve(points);
  EXPECT_TRUE(ChooseStrength(texts, sweep).ok());
  return sweep.chosen();
}

TEST(ChooseStrength, TheStrongestPullThatTheNewTaskHardlyFeels) {
  // Four intent sets, as the default of 1000 went wrong: the new task ends at 80 where it could reach 95.
  const std::vector<Point> intents = {{0, 0.95, 0.60},   {30, 0.95, 0.66},   {100, 0.945, 0.72},
                                      {300, 0.93, 0.80}, {1000, 0.80, 0.86}, {3000, 0.55, 0.88}};
  EXPECT_EQ(Chosen(intents, 100), 300);      // one standard error: 2.2 points
  EXPECT_EQ(Chosen(intents, 100'000), 100);  // a point at least, whatever the number of texts
  EXPECT_EQ(Chosen(intents, 10), 300);       // 6.9 points
}

TEST(ChooseStrength, OfEqualOnesTheWeakest) {
  EXPECT_EQ(Chosen({{0, 0.9, 0.7}, {30, 0.9, 0.8}, {100, 0.9, 0.8}, {300, 0.9, 0.75}}, 100), 30);
  EXPECT_EQ(Chosen({{0, 0.9, 0.8}, {30, 0.9, 0.8}}, 100), 0);
}

// A strength may also help the new task: what it could reach is the best of the curve, not what naive training reaches.
TEST(ChooseStrength, TheBestOfTheCurveIsTheMeasure) {
  EXPECT_EQ(Chosen({{0, 0.80, 0.9}, {100, 0.95, 0.5}, {300, 0.94, 0.6}}, 10'000), 300);
}

TEST(ChooseStrength, ToleranceIsOneStandardErrorAndAPointAtLeast) {
  StrengthSweep sweep = Curve({{0, 0.5, 0.5}, {1, 0.8, 0.5}});
  ASSERT_TRUE(ChooseStrength(64, sweep).ok());
  EXPECT_DOUBLE_EQ(sweep.tolerance(), std::sqrt(0.8 * 0.2 / 64));  // 0.05
  ASSERT_TRUE(ChooseStrength(1'000'000, sweep).ok());
  EXPECT_DOUBLE_EQ(sweep.tolerance(), 0.01);
  StrengthSweep perfect = Curve({{0, 1, 0.5}});
  ASSERT_TRUE(ChooseStrength(1, perfect).ok());
  EXPECT_DOUBLE_EQ(perfect.tolerance(), 0.01);
  StrengthSweep none;
  EXPECT_FALSE(ChooseStrength(1, none).ok());
  EXPECT_FALSE(ChooseStrength(0, perfect).ok());
}

class StrengthSearchTest : public RunTest {
 protected:
  // Task cd on top of a consolidated ab, at three strengths of ewc.
  engram::worker::v1::RunSpec SearchSpec() {
    const auto ab = FirstLetters("letters-ab", 'a', 'b'), cd = FirstLetters("letters-cd", 'c', 'd');
    Done(TrainSpec(root_ + "/base", 1, "ab", ab, {"a", "b"}), root_ + "/1");
    auto consolidate = Spec(root_ + "/1/output", 2);
    consolidate.mutable_consolidate()->set_task("ab");
    *consolidate.mutable_consolidate()->mutable_dataset() = ab;
    consolidate.mutable_consolidate()->set_fisher("sampled");
    Done(consolidate, root_ + "/2");
    auto spec = TrainSpec(root_ + "/2/output", 3, "cd", cd, {"c", "d"});
    auto& work = *spec.mutable_train();
    work.set_strategy("ewc");
    for (const auto& [key, value] : {std::pair{"lambda", "1000"}, {"penalty_mode", "auto"}, {"centre", "own"}})
      (*work.mutable_strategy_options())[key] = value;
    auto& search = *work.mutable_search();
    search.set_option("lambda");
    for (const double value : {0.0, 10.0, 1e6}) search.add_values(value);
    auto& earlier = *search.add_earlier();
    earlier.set_task("ab");
    *earlier.mutable_dataset() = ab;
    return spec;
  }
};

TEST_F(StrengthSearchTest, TriesEachStrengthOnHeldOutTextsAndTrainsOnAllAtTheBest) {
  const auto spec = SearchSpec();
  const JobResult result = Done(spec, root_ + "/run");
  const StrengthSweep& sweep = result.strength_sweep();
  EXPECT_EQ(sweep.option(), "lambda");
  ASSERT_EQ(sweep.points_size(), 3);
  for (const auto& point : sweep.points()) {
    ASSERT_EQ(point.metrics_size(), 2) << "accuracy alone, of either task";
    for (const auto& metric : point.metrics()) {
      EXPECT_EQ(metric.metric(), "accuracy");
      EXPECT_FALSE(metric.own_test_part());
      const bool fresh = metric.task() == "models/letters/tasks/cd";
      EXPECT_EQ(metric.value(), fresh ? point.new_score() : point.earlier_score());
      EXPECT_EQ(metric.count(), fresh ? 2 : 10) << "a fifth of ten rows; the earlier task's training rows";
      EXPECT_EQ(metric.part(), fresh ? engram::v1::MEASURED_PART_VALIDATION : engram::v1::MEASURED_PART_TRAINING);
    }
  }
  StrengthSweep again = sweep;
  ASSERT_TRUE(ChooseStrength(2, again).ok());
  EXPECT_EQ(sweep.chosen(), again.chosen());
  EXPECT_EQ(sweep.tolerance(), again.tolerance());
  // Three trainings on eight texts, one on ten, in batches of four, for two epochs.
  EXPECT_EQ(result.steps(), 3 * 2 * 2 + 2 * 3);
  const checkpoint::VersionManifest manifest = Manifest(root_ + "/run/output");
  EXPECT_EQ(std::stod(manifest.strategy_options.at("lambda")), sweep.chosen());
  EXPECT_EQ(manifest.training_options.at("validation_fraction"), "0");
  EXPECT_EQ(manifest.tasks.back().training_examples, 10);
  EXPECT_GE(Metric(result, "cd", "accuracy"), 0);  // of the test part, once
  for (const char* strength : {"/run/strength-1", "/run/strength-2", "/run/strength-3"})
    EXPECT_THAT(*ListDirectory(root_ + strength), ElementsAre("result.binpb"));
  EXPECT_THAT(Phases(), HasSubstr("lambda 10 (2 of 3), training;"));
  for (const std::string& warning : warnings) EXPECT_THAT(warning, Not(HasSubstr("VALIDATION_FIGURES")));
  // The version is that of a training at that strength.
  auto plain = spec;
  plain.mutable_train()->clear_search();
  (*plain.mutable_train()->mutable_strategy_options())["lambda"] = manifest.strategy_options.at("lambda");
  Done(plain, root_ + "/plain");
  EXPECT_EQ(*ReadFile(root_ + "/run/output/model.safetensors"), *ReadFile(root_ + "/plain/output/model.safetensors"));
}

TEST_F(StrengthSearchTest, GoesOnWhereItWasInterrupted) {
  const auto spec = SearchSpec();
  const JobResult whole = Done(spec, root_ + "/whole");
  ASSERT_TRUE(MakeDirectories(root_ + "/parts/strength-1").ok());
  ASSERT_TRUE(
      WriteFileAtomic(root_ + "/parts/strength-1/result.binpb", *ReadFile(root_ + "/whole/strength-1/result.binpb"))
          .ok());
  const RunResult stopped = Run(spec, root_ + "/parts", train::StopRequest::kCheckpoint);
  ASSERT_TRUE(stopped.ok()) << stopped.status();
  EXPECT_FALSE(stopped->has_value());
  EXPECT_TRUE(PathExists(root_ + "/parts/strength-2/checkpoint.safetensors"));
  const JobResult resumed = Done(spec, root_ + "/parts");
  EXPECT_THAT(Phases(), Not(HasSubstr("(1 of 3)")));
  EXPECT_EQ(resumed.strength_sweep().SerializeAsString(), whole.strength_sweep().SerializeAsString());
  EXPECT_EQ(*ReadFile(root_ + "/parts/output/model.safetensors"), *ReadFile(root_ + "/whole/output/model.safetensors"));
  EXPECT_TRUE(absl::IsCancelled(Run(spec, root_ + "/none", train::StopRequest::kCancel).status()));
}

TEST_F(StrengthSearchTest, AnEarlierTaskWithAValidationPartIsMeasuredOnIt) {
  auto spec = SearchSpec();
  auto& dataset = *spec.mutable_train()->mutable_search()->mutable_earlier(0)->mutable_dataset();
  dataset.set_validation_path(root_ + "/letters-ab.validation");
  ASSERT_TRUE(WriteFileAtomic(dataset.validation_path(), R"({"text":"ae xx","label":"a"})"
                                                         "\n")
                  .ok());
  dataset.set_digest(*DigestOf(dataset));
  const JobResult result = Done(spec, root_ + "/run");
  for (const auto& metric : result.strength_sweep().points(0).metrics()) {
    if (metric.task() != "models/letters/tasks/ab") continue;
    EXPECT_EQ(metric.count(), 1);
    EXPECT_EQ(metric.part(), engram::v1::MEASURED_PART_VALIDATION);
  }
}

}  // namespace
}  // namespace engram::worker
