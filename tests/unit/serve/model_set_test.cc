#include "core/serve/model_set.h"

#include <algorithm>
#include <array>
#include <thread>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::serve {
namespace {

using ::testing::ElementsAre;

// A loader that keeps a record, and whose first load of a version of `held_` waits until the test lets it go.
class ModelSetTest : public ::testing::Test {
 protected:
  absl::StatusOr<ModelSet::Pointer> Load(const std::string& model, int64_t number) {
    bool wait = false;
    absl::Status status;
    {
      absl::MutexLock lock(&mutex_);
      loads_.push_back(model + "@" + std::to_string(number));
      wait = model == held_ && std::count(loads_.begin(), loads_.end(), loads_.back()) == 1;
      status = status_;
    }
    if (wait) {
      arrived_.Notify();
      let_go_.WaitForNotification();
    }
    if (!status.ok()) return status;
    auto version = std::make_shared<ServedVersion>();
    version->model = model;
    version->number = number;
    version->bytes = 100 * number;
    return version;
  }
  ModelSet Make(int64_t capacity, int64_t bytes = 1'000'000) {
    return ModelSet([this](const std::string& model, int64_t number) { return Load(model, number); }, capacity, bytes);
  }
  void Fail(absl::Status status) {
    absl::MutexLock lock(&mutex_);
    status_ = std::move(status);
  }
  std::vector<std::string> loads() {
    absl::MutexLock lock(&mutex_);
    return loads_;
  }

  const std::string held_ = "held";
  absl::Notification arrived_, let_go_;  // the held load has begun; it may end

 private:
  absl::Mutex mutex_;
  std::vector<std::string> loads_ ABSL_GUARDED_BY(mutex_);
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

TEST_F(ModelSetTest, OneLoadServesAllThatComeWhileItRuns) {
  ModelSet set = Make(2);
  std::array<ModelSet::Pointer, 4> got;
  std::vector<std::thread> threads;
  threads.emplace_back([&] { got[0] = *set.Get("held", 1); });
  arrived_.WaitForNotification();
  EXPECT_EQ(set.loaded(), 0) << "on its way is not loaded";
  absl::BlockingCounter asking(3);
  for (size_t i = 1; i < got.size(); ++i) {
    threads.emplace_back([&, i] {
      asking.DecrementCount();
      got[i] = *set.Get("held", 1);
    });
  }
  asking.Wait();
  let_go_.Notify();
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(loads(), ElementsAre("held@1"));
  EXPECT_EQ(set.loaded(), 1);
  ASSERT_NE(got[0], nullptr);
  EXPECT_EQ(got[0]->model, "held");
  for (const auto& pointer : got) EXPECT_EQ(pointer, got[0]);
}

TEST_F(ModelSetTest, ALoadHoldsUpNoOtherVersion) {
  ModelSet set = Make(3);
  ASSERT_TRUE(set.Get("a", 1).ok());
  std::thread slow([&] { EXPECT_TRUE(set.Get("held", 1).ok()); });
  arrived_.WaitForNotification();
  EXPECT_EQ((*set.Get("a", 1))->model, "a");
  EXPECT_EQ((*set.Get("a", 2))->number, 2);
  let_go_.Notify();
  slow.join();
  EXPECT_THAT(loads(), ElementsAre("a@1", "held@1", "a@2"));
  EXPECT_EQ(set.loaded(), 3);
}

TEST_F(ModelSetTest, LetsGoTheLeastRecentlyUsedOne) {
  ModelSet set = Make(2);
  ASSERT_TRUE(set.Get("m", 1).ok());
  ASSERT_TRUE(set.Get("m", 2).ok());
  ASSERT_TRUE(set.Get("m", 1).ok());  // 2 is now the older use, though it was loaded later
  ASSERT_TRUE(set.Get("m", 3).ok());
  EXPECT_EQ(set.loaded(), 2);
  ASSERT_TRUE(set.Get("m", 1).ok());
  ASSERT_TRUE(set.Get("m", 3).ok());
  EXPECT_THAT(loads(), ElementsAre("m@1", "m@2", "m@3"));
  ASSERT_TRUE(set.Get("m", 2).ok());  // and 1 makes room for it
  ASSERT_TRUE(set.Get("m", 3).ok());
  ASSERT_TRUE(set.Get("m", 1).ok());
  EXPECT_THAT(loads(), ElementsAre("m@1", "m@2", "m@3", "m@2", "m@1"));
  EXPECT_EQ(set.loaded(), 2);
}

TEST_F(ModelSetTest, LetsGoWhatTakesTooMuchMemory) {
  ModelSet set = Make(10, 600);
  for (const int64_t number : {1, 2, 3}) ASSERT_TRUE(set.Get("m", number).ok());  // 600 in all
  EXPECT_EQ(set.loaded(), 3);
  ASSERT_TRUE(set.Get("m", 1).ok());
  ASSERT_TRUE(set.Get("m", 4).ok());  // 2 and 3 make room for it, and 1, which was used since, stays
  EXPECT_EQ(set.loaded(), 2);
  ASSERT_TRUE(set.Get("m", 1).ok());
  ASSERT_TRUE(set.Get("m", 9).ok()) << "the one that was loaded last stays, however large it is";
  EXPECT_EQ(set.loaded(), 1);
  ASSERT_TRUE(set.Get("m", 9).ok());
  EXPECT_THAT(loads(), ElementsAre("m@1", "m@2", "m@3", "m@4", "m@9"));
}

TEST_F(ModelSetTest, WhatIsLetGoLivesAsLongAsARequestHoldsIt) {
  ModelSet set = Make(1);
  ModelSet::Pointer first = *set.Get("m", 1);
  const std::weak_ptr<const ServedVersion> watched = first;
  const ModelSet::Pointer second = *set.Get("m", 2);
  EXPECT_EQ(first->number, 1);
  EXPECT_EQ(set.loaded(), 1);
  first.reset();
  EXPECT_TRUE(watched.expired()) << "the set keeps nothing that it let go";
  EXPECT_FALSE(std::weak_ptr<const ServedVersion>(second).expired());
}

TEST_F(ModelSetTest, AFailedLoadIsToldAndTriedAgain) {
  ModelSet set = Make(2);
  Fail(absl::DataLossError("a digest differs"));
  EXPECT_EQ(set.Get("m", 1).status(), absl::DataLossError("a digest differs"));
  EXPECT_EQ(set.loaded(), 0);
  Fail(absl::OkStatus());
  EXPECT_EQ((*set.Get("m", 1))->number, 1);
  EXPECT_THAT(loads(), ElementsAre("m@1", "m@1"));
}

TEST_F(ModelSetTest, WhoWaitedForALoadThatFailedLoadsItself) {
  ModelSet set = Make(2);
  Fail(absl::DataLossError("a digest differs"));
  std::thread first([&] { EXPECT_FALSE(set.Get("held", 1).ok()); });
  arrived_.WaitForNotification();
  Fail(absl::OkStatus());  // the first load has taken its status already
  absl::Notification asking;
  std::thread second([&] {
    asking.Notify();
    EXPECT_TRUE(set.Get("held", 1).ok());
  });
  asking.WaitForNotification();
  let_go_.Notify();
  first.join(), second.join();
  EXPECT_THAT(loads(), ElementsAre("held@1", "held@1"));
}

TEST_F(ModelSetTest, AFullSetKeepsTheVersionThatCameLastWhileAnotherIsOnItsWay) {
  ModelSet set = Make(1);
  std::thread slow([&] { EXPECT_TRUE(set.Get("held", 1).ok()); });
  arrived_.WaitForNotification();
  ASSERT_TRUE(set.Get("m", 1).ok());
  ASSERT_TRUE(set.Get("m", 1).ok());  // finds it
  let_go_.Notify();
  slow.join();
  ASSERT_TRUE(set.Get("held", 1).ok());
  EXPECT_THAT(loads(), ElementsAre("held@1", "m@1"));
  EXPECT_EQ(set.loaded(), 1);
}

TEST_F(ModelSetTest, DroppedVersionsAreLoadedAnewAndUsableWhileInUse) {
  ModelSet set = Make(2);
  const ModelSet::Pointer held = *set.Get("m", 1);
  ASSERT_TRUE(set.Get("m", 2).ok());
  set.Drop("m", 1);
  set.Drop("m", 7);  // none there
  EXPECT_EQ(held->number, 1);
  EXPECT_EQ(set.loaded(), 1);
  const ModelSet::Pointer anew = *set.Get("m", 1);
  EXPECT_NE(anew, held);
  ASSERT_TRUE(set.Get("m", 2).ok());
  EXPECT_THAT(loads(), ElementsAre("m@1", "m@2", "m@1"));
}

TEST_F(ModelSetTest, AFetchHoldsNoThreadAndOneLoadTellsAllThatWait) {
  ModelSet set = Make(2);
  std::vector<std::function<void()>> work;
  const auto run = [&](std::function<void()> load) { work.push_back(std::move(load)); };
  std::vector<int64_t> told;
  const auto done = [&](const auto& version) { told.push_back(version.ok() ? (*version)->number : -1); };
  EXPECT_EQ(set.Fetch("m", 1, run, done), nullptr);
  EXPECT_EQ(set.Fetch("m", 1, run, done), nullptr);
  EXPECT_EQ(set.Fetch("m", 2, run, done), nullptr);
  EXPECT_THAT(loads(), ElementsAre());
  ASSERT_EQ(work.size(), 2);
  work[0]();
  EXPECT_THAT(told, ElementsAre(1, 1));
  Fail(absl::DataLossError("a digest differs"));
  work[1]();
  EXPECT_THAT(told, ElementsAre(1, 1, -1));
  EXPECT_EQ(set.Fetch("m", 1, run, done)->number, 1);
  EXPECT_THAT(loads(), ElementsAre("m@1", "m@2"));
  Fail(absl::OkStatus());
  EXPECT_EQ(set.Fetch("m", 2, run, done), nullptr) << "a failure is not remembered";
  EXPECT_EQ(work.size(), 3);
  work[2]();
  EXPECT_THAT(told, ElementsAre(1, 1, -1, 2));
}

TEST_F(ModelSetTest, WhatWillBeAskedForIsLoadedWhereItsModelIsInUse) {
  ModelSet set = Make(2);
  int runs = 0;
  const auto run = [&](const std::function<void()>& load) {
    ++runs;
    load();
  };
  set.Prefetch("m", 2, run);
  set.Prefetch("a", 2, run);
  EXPECT_EQ(runs, 0);
  ASSERT_TRUE(set.Get("m", 1).ok());
  set.Prefetch("m", 2, run);
  set.Prefetch("m", 2, run);
  set.Prefetch("l", 2, run);
  EXPECT_EQ(runs, 1);
  EXPECT_THAT(loads(), ElementsAre("m@1", "m@2"));
}

TEST_F(ModelSetTest, AVersionThatIsDroppedWhileItIsLoadedIsNotKept) {
  ModelSet set = Make(2);
  std::thread slow([&] { EXPECT_TRUE(set.Get("held", 1).ok()); });
  arrived_.WaitForNotification();
  set.Drop("held", 1);
  let_go_.Notify();
  slow.join();
  EXPECT_EQ(set.loaded(), 0);
}

}  // namespace
}  // namespace engram::serve
