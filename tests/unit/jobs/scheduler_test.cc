#include "core/jobs/scheduler.h"

#include "gtest/gtest.h"

namespace engram::jobs {
namespace {

TEST(Scheduler, RunsByPriorityThenAge) {
  Scheduler scheduler({"cpu"});
  scheduler.Add("02", 0);
  scheduler.Add("01", 0);
  scheduler.Add("03", 5);
  EXPECT_EQ(scheduler.Position("03"), 0);
  EXPECT_EQ(scheduler.Position("02"), 2);
  std::vector<std::string> order;
  while (const auto next = scheduler.Next()) {
    order.push_back(next->job);
    scheduler.Release(next->device);
  }
  EXPECT_EQ(order, (std::vector<std::string>{"03", "01", "02"}));
}

TEST(Scheduler, OneJobADevice) {
  Scheduler scheduler({"cuda:0", "cuda:1"});
  for (const char* job : {"1", "2", "3"}) scheduler.Add(job, 0);
  const auto first = scheduler.Next(), second = scheduler.Next();
  ASSERT_TRUE(first && second);
  EXPECT_NE(first->device, second->device);
  EXPECT_FALSE(scheduler.Next());
  scheduler.Release(second->device);
  const auto third = scheduler.Next();
  ASSERT_TRUE(third);
  EXPECT_EQ(third->device, second->device);
}

TEST(Scheduler, RemovedAndRepeatedJobs) {
  Scheduler scheduler({"cpu"});
  scheduler.Add("1", 0);
  scheduler.Add("1", 7);
  EXPECT_EQ(scheduler.queued(), 1);
  EXPECT_TRUE(scheduler.Remove("1"));
  EXPECT_FALSE(scheduler.Remove("1"));
  EXPECT_FALSE(scheduler.Next());
}

}  // namespace
}  // namespace engram::jobs
