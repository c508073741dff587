#include "core/jobs/scheduler.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::jobs {
namespace {

using ::testing::ElementsAre;

TEST(Scheduler, RunsByPriorityThenAge) {
  Scheduler scheduler({{"cpu"}});
  scheduler.Add("02", 0);
  scheduler.Add("01", 0);
  scheduler.Add("03", 5);
  EXPECT_EQ(scheduler.Position("03"), 0);
  EXPECT_EQ(scheduler.Position("02"), 2);
  std::vector<std::string> order;
  while (const auto next = scheduler.Next()) {
    order.push_back(next->job);
    scheduler.Release(next->devices);
  }
  EXPECT_EQ(order, (std::vector<std::string>{"03", "01", "02"}));
}

TEST(Scheduler, OneJobPerDevice) {
  Scheduler scheduler({{"cuda:0"}, {"cuda:1"}});
  for (const char* job : {"1", "2", "3"}) scheduler.Add(job, 0);
  const auto first = scheduler.Next(), second = scheduler.Next();
  ASSERT_TRUE(first && second);
  EXPECT_NE(first->devices, second->devices);
  EXPECT_FALSE(scheduler.HasNext());
  EXPECT_FALSE(scheduler.Next());
  scheduler.Release(second->devices);
  EXPECT_TRUE(scheduler.HasNext());
  const auto third = scheduler.Next();
  ASSERT_TRUE(third);
  EXPECT_EQ(third->devices, second->devices);
}

TEST(Scheduler, RemovedAndRepeatedJobs) {
  Scheduler scheduler({{"cpu"}});
  scheduler.Add("1", 0);
  scheduler.Add("1", 7);
  EXPECT_EQ(scheduler.Position("1"), 0);
  EXPECT_TRUE(scheduler.Remove("1"));
  EXPECT_FALSE(scheduler.Remove("1"));
  EXPECT_FALSE(scheduler.Next());
}

TEST(Scheduler, AJobGetsAllThatItNeedsOrWaits) {
  Scheduler scheduler({{"cuda:0", 80}, {"cuda:1", 80}, {"cpu"}});
  scheduler.Add("1", 0, {"cuda:1"});
  EXPECT_THAT(scheduler.Next()->devices, ElementsAre("cuda:1"));
  scheduler.Add("2", 0, {"cuda", 2});
  EXPECT_FALSE(scheduler.Next()) << "one of two is free";
  scheduler.Release({"cuda:1"});
  EXPECT_THAT(scheduler.Next()->devices, ElementsAre("cuda:0", "cuda:1"));
  scheduler.Release({"cuda:0", "cuda:1"});
  // Two of any kind are two of one kind.
  scheduler.Add("3", 0, {"", 2});
  scheduler.Add("4", 0, {"cpu", 2});
  EXPECT_THAT(scheduler.Next()->devices, ElementsAre("cuda:0", "cuda:1"));
  EXPECT_FALSE(scheduler.Next());
}

TEST(Scheduler, AWaitingJobIsNotOvertakenOnItsDevicesAndHoldsNoOthers) {
  Scheduler scheduler({{"cuda:0"}, {"cuda:1"}, {"cpu"}});
  scheduler.Add("0", 0, {"cuda:0"});
  ASSERT_TRUE(scheduler.Next());
  scheduler.Add("1", 0, {"cuda", 2});  // waits for both
  scheduler.Add("2", 0, {"cuda"});     // would take cuda:1, again and again
  scheduler.Add("3", 0, {"cpu"});
  scheduler.Add("4", 0);
  EXPECT_EQ(scheduler.Next()->job, "3");
  EXPECT_FALSE(scheduler.Next());
  scheduler.Release({"cuda:0"});
  EXPECT_EQ(scheduler.Next()->job, "1");
  scheduler.Release({"cuda:0", "cuda:1"});
  EXPECT_EQ(scheduler.Next()->job, "2");
  EXPECT_EQ(scheduler.Next()->job, "4");
}

TEST(Scheduler, MemoryCountsWhereItIsKnown) {
  Scheduler scheduler({{"cuda:0", 40}, {"cuda:1", 80}, {"cpu"}});
  EXPECT_TRUE(scheduler.CanRun({"cuda", 1, 80}));
  EXPECT_FALSE(scheduler.CanRun({"cuda", 1, 81}));
  EXPECT_FALSE(scheduler.CanRun({"cuda", 2, 41}));
  EXPECT_TRUE(scheduler.CanRun({"cpu", 1, 1'000'000}));
  EXPECT_FALSE(scheduler.CanRun({"cuda:2"}));
  EXPECT_FALSE(scheduler.CanRun({"", 3}));
  scheduler.Add("1", 0, {"cuda", 1, 60});
  EXPECT_THAT(scheduler.Next()->devices, ElementsAre("cuda:1"));
}

TEST(Scheduler, WhatARunHoldsAlreadyIsClaimedWhole) {
  Scheduler scheduler({{"cuda:0"}, {"cuda:1"}});
  EXPECT_TRUE(scheduler.Claim({"cuda:1"}));
  EXPECT_FALSE(scheduler.Claim({"cuda:0", "cuda:1"}));
  EXPECT_FALSE(scheduler.Claim({"cpu"}));
  scheduler.Add("1", 0);
  EXPECT_THAT(scheduler.Next()->devices, ElementsAre("cuda:0"));  // the refused claim took nothing
}

}  // namespace
}  // namespace engram::jobs
