#include "server/rpc/work_pool.h"

#include <algorithm>
#include <memory>
#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::server {
namespace {

using ::testing::ElementsAre;

constexpr absl::Duration kPatience = absl::Seconds(20);  // for other threads; nothing waits this long unless it fails

// Long work that runs until it is let go, and says in which order it began.
class LongWork {
 public:
  // `name`: as it stands in begun().
  int64_t Schedule(WorkPool& pool, int name) {
    const auto work = [this, name] {
      absl::MutexLock lock(&mutex_);
      begun_.push_back(name);
      mutex_.Await(absl::Condition(&let_go_));
    };
    return pool.Schedule(work, WorkPool::Length::kLong);
  }
  bool AwaitBegun(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [this, count]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return begun_.size() >= count; };
    return mutex_.AwaitWithTimeout(absl::Condition(&enough), kPatience);
  }
  void LetGo() {
    absl::MutexLock lock(&mutex_);
    let_go_ = true;
  }
  std::vector<int> begun() {
    absl::MutexLock lock(&mutex_);
    return begun_;
  }

 private:
  absl::Mutex mutex_;
  std::vector<int> begun_ ABSL_GUARDED_BY(mutex_);
  bool let_go_ ABSL_GUARDED_BY(mutex_) = false;
};

TEST(WorkPool, LongWorkLeavesAThreadToShortWork) {
  LongWork work;
  auto pool = std::make_unique<WorkPool>(4);
  for (int i = 0; i < 8; ++i) work.Schedule(*pool, i);
  EXPECT_TRUE(work.AwaitBegun(3));
  for (int i = 0; i < 20; ++i) {
    absl::Notification done;
    pool->Schedule([&] { done.Notify(); });
    EXPECT_TRUE(done.WaitForNotificationWithTimeout(kPatience));
  }
  EXPECT_EQ(work.begun().size(), 3);
  work.LetGo();
  pool.reset();
  EXPECT_EQ(work.begun().size(), 8);
}

TEST(WorkPool, LongWorkWaitsInOrderAndCanBeWithdrawn) {
  LongWork work;
  auto pool = std::make_unique<WorkPool>(2);
  const int64_t first = work.Schedule(*pool, 0);
  EXPECT_TRUE(work.AwaitBegun(1));
  work.Schedule(*pool, 1);
  const int64_t withdrawn = work.Schedule(*pool, 2);
  work.Schedule(*pool, 3);
  EXPECT_FALSE(pool->Withdraw(first));
  EXPECT_TRUE(pool->Withdraw(withdrawn));
  EXPECT_FALSE(pool->Withdraw(withdrawn));
  work.LetGo();
  pool.reset();
  EXPECT_THAT(work.begun(), ElementsAre(0, 1, 3));
}

TEST(WorkPool, OneThreadDoesEverything) {
  LongWork work;
  work.LetGo();
  {
    WorkPool pool(1);
    work.Schedule(pool, 0);
    absl::Notification done;
    pool.Schedule([&] { done.Notify(); });
    EXPECT_TRUE(done.WaitForNotificationWithTimeout(kPatience));
    work.Schedule(pool, 1);
  }
  EXPECT_THAT(work.begun(), ElementsAre(0, 1));
}

TEST(WorkPool, LongWorkStandsBackAndShortWorkDoesNot) {
  const auto nice_of = [](WorkPool& pool, WorkPool::Length length) {
    int nice = -1;
    absl::Notification done;
    pool.Schedule(
        [&] {
          nice = getpriority(PRIO_PROCESS, 0);
          done.Notify();
        },
        length);
    EXPECT_TRUE(done.WaitForNotificationWithTimeout(kPatience));
    return nice;
  };
  const int own = getpriority(PRIO_PROCESS, 0), lowest = 19;
  WorkPool plain(2), back(2, 3);
  EXPECT_EQ(nice_of(plain, WorkPool::Length::kShort), own);
  EXPECT_EQ(nice_of(back, WorkPool::Length::kShort), std::min(own + 3, lowest));
  EXPECT_EQ(nice_of(plain, WorkPool::Length::kLong), std::min(own + WorkPool::kLongNice, lowest));
}

// What is under way may give the pool more to do, of either kind.
TEST(WorkPool, WhatWorkAsksForAtTheEndIsDone) {
  absl::Notification begun, let_go;
  std::vector<int> done;
  {
    auto pool = std::make_unique<WorkPool>(2);
    pool->Schedule([&, pool = pool.get()] {
      begun.Notify();
      let_go.WaitForNotification();
      pool->Schedule(
          [&, pool] {
            done.push_back(1);
            pool->Schedule([&] { done.push_back(2); });
          },
          WorkPool::Length::kLong);
    });
    begun.WaitForNotification();
    std::thread ends([&] { pool.reset(); });
    let_go.Notify();
    ends.join();
  }
  EXPECT_THAT(done, ElementsAre(1, 2));
}

}  // namespace
}  // namespace engram::server
