#include "client/stream_view.h"

#include "client/output.h"
#include "gtest/gtest.h"

namespace engram::client {
namespace {

engram::v1::StreamMetrics Stream() {
  engram::v1::StreamMetrics metrics;
  metrics.set_metric("accuracy");
  metrics.add_tasks("models/m/tasks/a");
  metrics.add_tasks("models/m/tasks/b");
  const auto add = [&](const char* after, std::initializer_list<std::pair<const char*, double>> scores) {
    auto* row = metrics.add_rows();
    row->set_after(after);
    for (const auto& [task, value] : scores) {
      auto* score = row->add_scores();
      score->set_task(task);
      score->set_value(value);
    }
  };
  add("models/m/tasks/a", {{"models/m/tasks/a", 0.75}});
  add("models/m/tasks/b", {{"models/m/tasks/a", 0.7}, {"models/m/tasks/b", 1}});
  return metrics;
}

void AddMetric(engram::v1::JobResult& result, const char* task, const char* name, double value, double before) {
  auto* metric = result.add_metrics();
  metric->set_task(task);
  metric->set_metric(name);
  metric->set_value(value);
  if (before >= 0) metric->set_before(before);
}

size_t Count(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(StreamView, AMatrixIsATable) {
  EXPECT_EQ(Table(MatrixRows(Stream())),
            "accuracy % after     a      b\n"
            "a                 75.0      -\n"
            "b                 70.0  100.0\n");
}

TEST(StreamView, GainsAndLossesAreOfTasksThatWereMeasuredBefore) {
  engram::v1::JobResult result;
  AddMetric(result, "models/m/tasks/new", "accuracy", 0.9, -1);
  EXPECT_EQ(GainsAndLosses(result), "");
  AddMetric(result, "models/m/tasks/topics", "accuracy", 0.921, 0.9);
  EXPECT_EQ(GainsAndLosses(result), "gained 2.1 on topics");
  AddMetric(result, "models/m/tasks/topics", "loss", 0.2, 0.9);  // less is better: none of it
  AddMetric(result, "models/m/tasks/intents", "entity_f1", 0.896, 0.9);
  EXPECT_EQ(GainsAndLosses(result), "gained 2.1 on topics and lost 0.4 on intents");
  AddMetric(result, "models/m/tasks/more", "accuracy", 0.5, 0.51);
  AddMetric(result, "models/m/tasks/same", "accuracy", 0.5, 0.5001);
  EXPECT_EQ(GainsAndLosses(result), "gained 2.1 on topics, lost 0.4 on intents and 1.0 on more and kept same");
}

TEST(StreamView, ASearchIsATableWithTheChosenStrengthMarked) {
  engram::v1::StrengthSweep sweep;
  EXPECT_TRUE(SweepRows(sweep).empty());
  sweep.set_option("lambda");
  for (const auto& [strength, fresh, earlier] : {std::tuple{0.0, 0.95, 0.5}, {300.0, 0.94, 0.625}}) {
    auto* point = sweep.add_points();
    point->set_strength(strength);
    point->set_new_score(fresh);
    point->set_earlier_score(earlier);
  }
  sweep.set_chosen(300);
  EXPECT_EQ(SweepRows(sweep), (std::vector<std::vector<std::string>>{{"lambda", "new task %", "earlier tasks %", ""},
                                                                     {"0", "95.0", "50.0", ""},
                                                                     {"300", "94.0", "62.5", "chosen"}}));
}

TEST(StreamView, TheDrawingHasACellPerScore) {
  const std::string drawing = HeatMap({Stream()}, "models <of> \"m\" & others");
  EXPECT_EQ(Count(drawing, "<title>"), 3U);
  EXPECT_NE(drawing.find("<title>a after b</title></rect>"), std::string::npos);
  EXPECT_EQ(Count(drawing, ">70.0<"), 1U);
  EXPECT_EQ(Count(drawing, "rgb(8,69,148)"), 1U);  // 1: the dark end
  EXPECT_NE(drawing.find("models &lt;of&gt; &quot;m&quot; &amp; others"), std::string::npos);
  EXPECT_EQ(Count(drawing, "<text"), Count(drawing, "</text>"));
}

TEST(StreamView, NothingMeasuredIsNoDrawing) {
  EXPECT_EQ(HeatMap({}, "m"), "");
  EXPECT_EQ(HeatMap({engram::v1::StreamMetrics()}, "m"), "");
}

}  // namespace
}  // namespace engram::client
