#include "core/serve/batcher.h"

#include <thread>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::serve {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

class FakeItem final : public BatchItem {
 public:
  FakeItem(int64_t tokens, const void* key, absl::Time deadline = absl::InfiniteFuture())
      : tokens_(tokens), key_(key), deadline_(deadline) {}
  int64_t tokens() const override { return tokens_; }
  const void* batch_key() const override { return key_; }
  absl::Time deadline() const override { return deadline_; }
  bool cancelled() const override { return gone; }
  void Fail(const absl::Status& status) override {
    ++failures;
    failure = status;
  }

  bool gone = false;
  int failures = 0;
  absl::Status failure;

 private:
  int64_t tokens_;
  const void* key_;
  absl::Time deadline_;
};

class BatcherTest : public ::testing::Test {
 protected:
  std::shared_ptr<FakeItem> Add(int64_t tokens, const void* key, absl::Time deadline = absl::InfiniteFuture()) {
    auto item = std::make_shared<FakeItem>(tokens, key, deadline);
    EXPECT_TRUE(batcher_.Submit({item}).ok());
    return item;
  }
  static std::vector<int64_t> Sizes(const std::vector<std::shared_ptr<BatchItem>>& batch) {
    std::vector<int64_t> sizes;
    for (const auto& item : batch) sizes.push_back(item->tokens());
    return sizes;
  }

  FakeClock clock_;
  Batcher batcher_{clock_, {.batch_tokens = 100, .queued_tokens = 300}};
  int a_ = 0, b_ = 0;  // two models
};

TEST_F(BatcherTest, FillsTheBudgetLongestFirstAndLeavesTheRest) {
  Add(30, &a_), Add(60, &a_), Add(50, &a_), Add(10, &a_);
  EXPECT_THAT(Sizes(batcher_.NextBatch()), ElementsAre(60, 30, 10));
  EXPECT_THAT(Sizes(batcher_.NextBatch()), ElementsAre(50));
  EXPECT_EQ(batcher_.queued_tokens(), 0);
}

TEST_F(BatcherTest, ModelsTakeTurnsOldestFirst) {
  Add(10, &a_), Add(20, &b_), Add(30, &a_);
  EXPECT_THAT(Sizes(batcher_.NextBatch()), ElementsAre(30, 10));
  EXPECT_THAT(Sizes(batcher_.NextBatch()), ElementsAre(20));
}

TEST_F(BatcherTest, AnItemAboveTheBudgetGoesAlone) {
  Add(250, &a_), Add(10, &a_);
  EXPECT_THAT(Sizes(batcher_.NextBatch()), ElementsAre(250));
  EXPECT_THAT(Sizes(batcher_.NextBatch()), ElementsAre(10));
}

// Of one call each.
TEST_F(BatcherTest, AShortCallNeverWaitsForTheEndOfALongOne) {
  std::vector<std::shared_ptr<BatchItem>> many;
  for (int i = 0; i < 9; ++i) many.push_back(std::make_shared<FakeItem>(30, &a_));
  ASSERT_TRUE(batcher_.Submit(many).ok());
  EXPECT_THAT(Sizes(batcher_.NextBatch()), ElementsAre(30, 30, 30));
  Add(7, &a_), Add(8, &a_);
  // The long one's turn came before them; it takes one item at a time, as they do.
  EXPECT_THAT(Sizes(batcher_.NextBatch()), ElementsAre(30, 30, 8, 7));
  // Of another model: the long call has had its turn.
  Add(9, &b_), Add(40, &a_);
  EXPECT_THAT(Sizes(batcher_.NextBatch()), ElementsAre(40, 30, 30));
  EXPECT_THAT(Sizes(batcher_.NextBatch()), ElementsAre(9));
  EXPECT_THAT(Sizes(batcher_.NextBatch()), ElementsAre(30, 30));
  EXPECT_EQ(batcher_.queued_items(), 0);
  EXPECT_EQ(batcher_.queued_tokens(), 0);
}

TEST_F(BatcherTest, BatchesAreAsLongAsTheDeviceComputesInTheirTime) {
  Batcher batcher(clock_, {.batch_tokens = 8192, .queued_tokens = 1 << 20, .batch_time = absl::Milliseconds(20)});
  std::vector<std::shared_ptr<BatchItem>> items;
  for (int n = 0; n < 40'000; ++n) items.push_back(std::make_shared<FakeItem>(1, &a_));
  ASSERT_TRUE(batcher.Submit(std::move(items)).ok());
  // A device that needs 2 ms for each batch and so long for each token: the tokens of the last of `batches` batches.
  const auto compute = [&](absl::Duration each, int batches) {
    int64_t tokens = 0;
    for (int i = 0; i < batches; ++i) {
      tokens = static_cast<int64_t>(batcher.NextBatch().size());
      batcher.Computed(&a_, tokens, absl::Milliseconds(2) + each * tokens);
    }
    return static_cast<double>(tokens);
  };
  // The first batch is short of what would hold others up for seconds; (20 - 2) x 10 tokens are 20 ms.
  EXPECT_LE(compute(absl::Microseconds(100), 1), 1000);
  EXPECT_NEAR(compute(absl::Microseconds(100), 6), 180, 2);
  // Ten times as slow: one batch too long, and the next ones are not. The least is 64.
  compute(absl::Milliseconds(1), 1);
  EXPECT_LE(compute(absl::Milliseconds(1), 1), 64);
  // Fast again: (20 - 2) x 100, and what has grown has not grown beyond that.
  EXPECT_NEAR(compute(absl::Microseconds(10), 8), 1800, 20);
  // A batch that is far from full says nothing, and one of another model nothing of this.
  batcher.Computed(&a_, 1, absl::Seconds(1));
  batcher.Computed(&b_, 8192, absl::Seconds(100));
  EXPECT_NEAR(compute(absl::Microseconds(10), 1), 1800, 20);
}

TEST_F(BatcherTest, BetweenTheLayersOfALongTextGoesWhatFitsABatch) {
  Batcher batcher(clock_, {.batch_tokens = 8192, .queued_tokens = 1 << 20, .batch_time = absl::Milliseconds(20)});
  batcher.Computed(&a_, 512, absl::Milliseconds(20) * 512 / 100);  // 100 tokens are 20 ms
  ASSERT_EQ(batcher.budget(&a_), 100);
  const auto long_text = [&] { return std::make_shared<FakeItem>(400, &a_); };
  ASSERT_TRUE(batcher.Submit({long_text(), long_text()}).ok());
  EXPECT_THAT(Sizes(batcher.NextBatch()), ElementsAre(400));
  EXPECT_THAT(batcher.NextFitting(), SizeIs(0)) << "the other long text waits for its turn";
  auto gone = std::make_shared<FakeItem>(5, &a_);
  gone->gone = true;
  ASSERT_TRUE(batcher.Submit({std::make_shared<FakeItem>(60, &a_), std::make_shared<FakeItem>(30, &a_)}).ok());
  ASSERT_TRUE(batcher.Submit({gone}).ok());
  ASSERT_TRUE(batcher.Submit({std::make_shared<FakeItem>(20, &b_)}).ok());
  EXPECT_THAT(Sizes(batcher.NextFitting()), ElementsAre(60, 30));
  EXPECT_THAT(Sizes(batcher.NextFitting()), ElementsAre(20)) << "of another model, too";
  EXPECT_EQ(gone->failures, 1);
  EXPECT_THAT(batcher.NextFitting(), SizeIs(0));
  EXPECT_THAT(Sizes(batcher.NextBatch()), ElementsAre(400));
  EXPECT_EQ(batcher.queued_tokens(), 0);
}

TEST_F(BatcherTest, AFullQueueTakesNothingOfARequest) {
  Add(200, &a_);
  auto first = std::make_shared<FakeItem>(60, &a_), second = std::make_shared<FakeItem>(60, &a_);
  const absl::Status status = batcher_.Submit({first, second});
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(StatusReason(status), "QUEUE_FULL");
  EXPECT_EQ(batcher_.queued_items(), 1);
  EXPECT_EQ(first->failures + second->failures, 0);
}

TEST_F(BatcherTest, NobodyComputesForAClientThatLeftOrADeadlineThatPassed) {
  auto gone = Add(10, &a_);
  auto late = Add(20, &a_, clock_.Now() + absl::Seconds(1));
  Add(30, &a_);
  gone->gone = true;
  clock_.Advance(absl::Seconds(2));
  EXPECT_THAT(Sizes(batcher_.NextBatch()), ElementsAre(30));
  EXPECT_EQ(gone->failures, 1);
  EXPECT_EQ(gone->failure.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(late->failures, 1);
  EXPECT_EQ(late->failure.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(batcher_.queued_tokens(), 0);
}

TEST_F(BatcherTest, ShutDownFailsWhatIsQueuedOnceAndWakesTheDevice) {
  auto item = Add(10, &a_);
  batcher_.ShutDown();
  batcher_.ShutDown();
  EXPECT_EQ(item->failures, 1);
  EXPECT_EQ(item->failure.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(batcher_.NextBatch(), SizeIs(0));
  EXPECT_EQ(batcher_.Submit({std::make_shared<FakeItem>(1, &a_)}).code(), absl::StatusCode::kUnavailable);
}

TEST_F(BatcherTest, AWaitingDeviceWakesForTheFirstItem) {
  absl::Notification done;
  std::vector<int64_t> sizes;
  std::thread device([&] {
    sizes = Sizes(batcher_.NextBatch());
    done.Notify();
  });
  Add(7, &a_);
  done.WaitForNotification();
  device.join();
  EXPECT_THAT(sizes, ElementsAre(7));
}

}  // namespace
}  // namespace engram::serve
