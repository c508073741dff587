#include "core/continual/stream_metrics.h"

#include <limits>

#include "gtest/gtest.h"

namespace engram::continual {
namespace {

TEST(StreamMetrics, EmptyAndSingleTaskForgetNothing) {
  EXPECT_EQ(ComputeStreamMetrics({}).average_accuracy, 0);
  const StreamMetrics one = ComputeStreamMetrics({{0.8}});
  EXPECT_DOUBLE_EQ(one.average_accuracy, 0.8);
  EXPECT_EQ(one.backward_transfer, 0);
  EXPECT_EQ(one.forgetting, 0);
}

TEST(StreamMetrics, ThreeTasksByHand) {
  // Task 0: 0.9, improves to 0.95 after task 1, ends at 0.7. Task 1: 0.8, ends at 0.85.
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const StreamMetrics metrics = ComputeStreamMetrics({{0.9, nan, nan}, {0.95, 0.8, nan}, {0.7, 0.85, 0.6}});
  EXPECT_NEAR(metrics.average_accuracy, (0.7 + 0.85 + 0.6) / 3, 1e-12);
  EXPECT_NEAR(metrics.backward_transfer, ((0.7 - 0.9) + (0.85 - 0.8)) / 2, 1e-12);
  EXPECT_NEAR(metrics.forgetting, ((0.95 - 0.7) + (0.8 - 0.85)) / 2, 1e-12);
}

}  // namespace
}  // namespace engram::continual
