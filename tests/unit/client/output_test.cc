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

TEST(Output, TimesAndSizes) {
  EXPECT_EQ(FormatSeconds(59.6), "1:00");
  EXPECT_EQ(FormatSeconds(3661), "1:01:01");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(90868376), "86.7 MiB");
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
