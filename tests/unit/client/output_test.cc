#include "client/output.h"

#include "client/session.h"
#include "gtest/gtest.h"

namespace engram::client {
namespace {

TEST(Output, TablesAlign) {
  EXPECT_EQ(Table({{"name", "rows"}, {"é", "5"}, {"long name", "1000"}}),
            "name       rows\né             5\nlong name  1000\n");
}

TEST(Output, ProgressLine) {
  engram::v1::JobProgress progress;
  progress.set_phase("training");
  progress.set_epoch(1);
  progress.set_epochs(3);
  progress.set_step(50);
  progress.set_total_steps(200);
  progress.set_loss(1.5);
  progress.set_penalty(0.25);
  progress.set_tokens_per_second(3120.4);
  progress.set_eta_seconds(65);
  EXPECT_EQ(ProgressLine(progress, 8),
            "training  epoch 1/3  [##......]   25%  50/200  3120 tok/s  loss 1.500  penalty 0.25  1:05 left");
}

TEST(Output, LinesFitTheTerminal) {
  const auto line = [](int width) { return std::string(static_cast<size_t>(width), '#') + " 50 % done ü"; };
  EXPECT_EQ(FitLine(line, 0), std::string(24, '#') + " 50 % done ü");
  EXPECT_EQ(FitLine(line, 37), std::string(24, '#') + " 50 % done ü");
  EXPECT_EQ(FitLine(line, 36), std::string(12, '#') + " 50 % done ü");
  EXPECT_EQ(FitLine(line, 13), " 50 % done ü");
  EXPECT_EQ(FitLine(line, 12), " 50 % done ");
  EXPECT_EQ(FitLine(line, 5), " 50 ");
}

TEST(Output, EstimatesSayWhereTheirSpeedIsFrom) {
  engram::v1::JobEstimate estimate;
  estimate.set_texts(2000);
  estimate.set_counted_texts(2000);
  estimate.set_tokens(30000);
  estimate.set_total_tokens(90000);
  estimate.set_steps(189);
  estimate.set_seconds(61);
  estimate.set_tokens_per_second(1475);
  const auto text = [&] { return Table(EstimateRows(estimate)); };
  EXPECT_NE(text().find("unknown"), std::string::npos);
  EXPECT_NE(text().find("30000 a pass, 90000 in all"), std::string::npos);
  EXPECT_EQ(text().find("disk"), std::string::npos);  // an evaluation makes no version
  estimate.set_speed_origin(engram::v1::SPEED_ORIGIN_MATRIX_PRODUCTS);
  EXPECT_NE(text().find("more than 1:01"), std::string::npos);
  estimate.set_speed_origin(engram::v1::SPEED_ORIGIN_SAME_MODEL);
  estimate.set_speed_job("jobs/01J");
  estimate.set_version_bytes(1 << 20);
  EXPECT_NE(text().find("about 1:01 at 1475 tok/s, the speed of jobs/01J"), std::string::npos);
  EXPECT_NE(text().find("1.0 MiB for the version"), std::string::npos);
}

TEST(Output, TimesAndSizes) {
  EXPECT_EQ(FormatSeconds(59.6), "1:00");
  EXPECT_EQ(FormatSeconds(3661), "1:01:01");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(90868376), "86.7 MiB");
}

TEST(Output, AStreamShowsWhatIsKnownAndNoMore) {
  engram::v1::StreamMetrics metrics;
  metrics.set_metric("accuracy");
  metrics.add_tasks("models/news/tasks/a");
  metrics.add_tasks("models/news/tasks/b");
  EXPECT_EQ(StreamRow(metrics), (std::vector<std::string>{"accuracy", "2", "-", "-", "-"}));
  metrics.set_average(0.75);
  metrics.set_backward_transfer(0);
  metrics.set_forgetting(-0.01234);
  EXPECT_EQ(StreamRow(metrics), (std::vector<std::string>{"accuracy", "2", "0.7500", "0.0000", "-0.0123"}));
  EXPECT_EQ(StreamColumns().size(), StreamRow(metrics).size());
}

TEST(Output, NpyHeaderIsAlignedAndSaysTheShape) {
  const std::string bytes = NpyBytes({2, 3}, std::string(24, 'x'));
  const size_t header = static_cast<unsigned char>(bytes[8]) + 256 * static_cast<unsigned char>(bytes[9]);
  EXPECT_EQ((10 + header) % 64, 0);
  EXPECT_EQ(bytes.size(), 10 + header + 24);
  EXPECT_EQ(bytes[10 + header - 1], '\n');
  EXPECT_NE(bytes.find("'shape': (2,3,)"), std::string::npos);
}

TEST(Session, ReferencesSplit) {
  EXPECT_EQ(SplitReference("news@canary").model, "news");
  EXPECT_EQ(SplitReference("news@canary").version, "canary");
  EXPECT_EQ(SplitReference("news").version, "");
  EXPECT_EQ(LastPart("models/news/versions/3"), "3");
}

}  // namespace
}  // namespace engram::client
