#include "server/worker/guard_rails.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::worker {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

engram::v1::JobResult Measured(const std::vector<int64_t>& counts) {
  engram::v1::JobResult result;
  auto& confusion = *result.add_confusions();
  confusion.set_task("models/m/tasks/t");
  confusion.add_labels("a");
  confusion.add_labels("b");
  for (const int64_t count : counts) confusion.add_counts(count);
  return result;
}

TEST(NothingLearned, AClassifierIsHeldAgainstItsMostFrequentLabel) {
  // 30 texts, 18 of them of one label: always answering it is right 18 times.
  EXPECT_TRUE(NothingLearned(Measured({18, 0, 12, 0}), "naive", {}));
  EXPECT_TRUE(NothingLearned(Measured({9, 9, 6, 6}), "naive", {}));
  EXPECT_FALSE(NothingLearned(Measured({18, 0, 11, 1}), "naive", {}));
  EXPECT_FALSE(NothingLearned(Measured({9, 0, 6, 0}), "naive", {})) << "fifteen texts say nothing";
  EXPECT_FALSE(NothingLearned(Measured({30, 0, 0, 0}), "naive", {})) << "one label is all there is";
}

TEST(NothingLearned, TheStrengthIsNamed) {
  const auto measured = Measured({18, 0, 12, 0});
  const auto ewc = NothingLearned(measured, "ewc", {{"lambda", "1000.0"}, {"penalty_mode", "auto"}});
  ASSERT_TRUE(ewc);
  EXPECT_THAT(*ewc, HasSubstr("NOTHING_LEARNED: models/m/tasks/t ends at an accuracy of 60.0 %"));
  EXPECT_THAT(*ewc, HasSubstr("strategy ewc with lambda=1000 may hold the model too fast"));
  EXPECT_THAT(*NothingLearned(measured, "naive", {}), HasSubstr("raise lr"));
  EXPECT_THAT(*NothingLearned(measured, "ewc", {{"lambda", "0"}}), Not(HasSubstr("too fast")));
}

TEST(NothingLearned, ATaggerThatFindsNothing) {
  engram::v1::JobResult result;
  auto& metric = *result.add_metrics();
  metric.set_task("models/m/tasks/names");
  metric.set_metric("entity_f1");
  metric.set_count(40);
  EXPECT_THAT(*NothingLearned(result, "si", {{"c", "5"}}), HasSubstr("without finding a single entity"));
  metric.set_value(0.01);
  EXPECT_FALSE(NothingLearned(result, "si", {{"c", "5"}}));
}

continual::Importance Taken(double trace, int64_t units, int64_t right, int64_t most_frequent) {
  continual::Importance importance;
  importance.trace = trace;
  importance.units = units;
  importance.right = right;
  importance.most_frequent = most_frequent;
  return importance;
}

TEST(PointlessImportance, OfATaskThatIsNotKnown) {
  const auto said = PointlessImportance("topics", Taken(1, 40, 10, 20));
  ASSERT_TRUE(said);
  EXPECT_THAT(*said, HasSubstr("UNTRAINED_TASK: this version answers 25.0 %"));
  EXPECT_THAT(*said, HasSubstr("\"topics\""));
  EXPECT_THAT(*said, HasSubstr("(50.0 %)"));
  EXPECT_TRUE(PointlessImportance("topics", Taken(1, 40, 20, 20)));
  EXPECT_FALSE(PointlessImportance("topics", Taken(1, 40, 21, 20)));
  EXPECT_FALSE(PointlessImportance("topics", Taken(1, 19, 0, 10))) << "nineteen texts say nothing";
  EXPECT_FALSE(PointlessImportance("topics", Taken(1, 40, 40, 40))) << "one label is all there is";
  EXPECT_FALSE(PointlessImportance("words", Taken(1, 0, 0, 0))) << "a masked language model";
}

TEST(PointlessImportance, OfZero) {
  EXPECT_THAT(*PointlessImportance("topics", Taken(0, 40, 40, 20)), HasSubstr("DEAD_PENALTY: "));
}

}  // namespace
}  // namespace engram::worker
