#include "core/serve/admission.h"

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "core/base/retry.h"
#include "core/serve/batcher.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::serve {
namespace {

constexpr int64_t kTokens = 10;  // of each text
constexpr absl::Duration kPatience = absl::Milliseconds(200);

// A device, the batcher in front of it, and clients that send one text after the other whatever becomes of them.
class Overloaded {
 public:
  // Answers in time, for each second of the last `seconds` of twice as many.
  double Goodput(double calls_per_second, double seconds) {
    const absl::Duration gap = absl::Seconds(1 / calls_per_second);
    const absl::Time start = clock_.Now(), end = start + absl::Seconds(2 * seconds);
    from_ = start + absl::Seconds(seconds);
    next_ = start;
    while (clock_.Now() < end) {
      if (batcher_.queued_items() == 0) {
        ArriveUntil(next_, gap);
        continue;
      }
      Compute(gap);
    }
    return in_time_ / seconds;
  }
  int refused() const { return refused_; }
  int late() const { return late_; }
  // What the device can do in a second, if its batches are full: 20 ms each, of which 2 ms are the batch's own.
  static double Capacity() { return 50 * (20.0 - 2.0) / kEachMilliseconds / kTokens; }

 private:
  struct Text final : public BatchItem {
    int64_t tokens() const override { return kTokens; }
    const void* batch_key() const override { return nullptr; }
    absl::Time deadline() const override { return until; }
    bool cancelled() const override { return false; }
    void Fail(const absl::Status&) override {
      ticket.reset();
      ++*late;
    }
    absl::Time until;
    std::unique_ptr<Admission::Ticket> ticket;
    int* late = nullptr;
  };

  void ArriveUntil(absl::Time until, absl::Duration gap) {
    for (; next_ <= until; next_ += gap) {
      if (next_ > clock_.Now()) clock_.Advance(next_ - clock_.Now());
      auto text = std::make_shared<Text>();
      text->until = next_ + kPatience;
      text->late = &late_;
      auto ticket = admission_.Admit(1, 4 * kTokens, text->until);
      if (!ticket.ok()) {
        EXPECT_EQ(StatusReason(ticket.status()), "QUEUE_FULL");
        EXPECT_GT(RetryDelay(ticket.status()), absl::ZeroDuration());
        EXPECT_LE(RetryDelay(ticket.status()), 2 * kPatience);
        ++refused_;
        continue;
      }
      text->ticket = *std::move(ticket);
      text->ticket->Tokenized(1, kTokens, 4 * kTokens);
      EXPECT_TRUE(batcher_.Submit({text}).ok());
    }
  }
  void Compute(absl::Duration gap) {
    const int64_t budget = batcher_.budget(nullptr);
    const auto batch = batcher_.NextFitting();
    if (batch.empty()) return;  // nobody waits any more for what was queued
    const int64_t tokens = kTokens * static_cast<int64_t>(batch.size());
    const absl::Duration time = absl::Milliseconds(2) + absl::Milliseconds(kEachMilliseconds) * tokens;
    const absl::Time done = clock_.Now() + time;
    ArriveUntil(done, gap);
    if (done > clock_.Now()) clock_.Advance(done - clock_.Now());
    batcher_.Computed(nullptr, tokens, time);
    admission_.Computed(tokens, budget);
    for (const auto& item : batch) {
      auto& text = static_cast<Text&>(*item);
      if (text.ticket) text.ticket->Answered(kTokens);
      if (text.until < clock_.Now()) {
        ++late_;
      } else if (clock_.Now() >= from_) {
        ++in_time_;
      }
    }
  }

  static constexpr double kEachMilliseconds = 0.1;
  FakeClock clock_;
  Admission admission_{clock_, absl::Seconds(30)};  // outlives the tickets of what the batcher holds
  Batcher batcher_{clock_, {.queued_tokens = 1 << 20, .batch_time = absl::Milliseconds(20)}};
  absl::Time next_, from_;
  int in_time_ = 0, refused_ = 0, late_ = 0;
};

TEST(Admission, OverloadKeepsNineTenthsOfTheCapacityAndHardlyAnythingIsLate) {
  for (const double load : {1.2, 2.0, 3.0, 10.0}) {
    Overloaded server;
    EXPECT_GE(server.Goodput(load * Overloaded::Capacity(), 5), 0.9 * Overloaded::Capacity()) << load;
    EXPECT_GT(server.refused(), 0);
    EXPECT_LE(server.late(), 0.02 * 10 * Overloaded::Capacity()) << load;
  }
}

TEST(Admission, ALoadThatTheDeviceBearsIsNotRefused) {
  for (const double load : {0.1, 0.5, 0.9}) {
    Overloaded server;
    EXPECT_NEAR(server.Goodput(load * Overloaded::Capacity(), 5), load * Overloaded::Capacity(), 5);
    EXPECT_EQ(server.refused(), 0) << load;
    EXPECT_EQ(server.late(), 0) << load;
  }
}

// Tokens are computed at one in a millisecond, in batches of 100.
class AdmissionTest : public ::testing::Test {
 protected:
  std::unique_ptr<Admission::Ticket> Admitted(int64_t items, int64_t tokens) {
    auto ticket = admission_.Admit(items, 4 * tokens, absl::InfiniteFuture());
    EXPECT_TRUE(ticket.ok()) << ticket.status();
    if (!ticket.ok()) return nullptr;
    (*ticket)->Tokenized(items, tokens, 0);
    return *std::move(ticket);
  }
  absl::Status Ask(int64_t items, int64_t tokens, absl::Duration patience) {
    return admission_.Admit(items, 4 * tokens, clock_.Now() + patience).status();
  }
  // The device has computed with enough to do.
  void Measure() {
    const auto ticket = Admitted(1, 200);
    clock_.Advance(absl::Milliseconds(100));
    admission_.Computed(100, 100);
    ASSERT_NEAR(admission_.tokens_per_second(), 1000, 1);
  }

  FakeClock clock_;
  Admission admission_{clock_, absl::Seconds(10)};
};

TEST_F(AdmissionTest, WhatWouldEndTooLateIsRefusedAndTheRefusalSaysWhenToTryAgain) {
  const auto before = Admitted(1, 100'000);
  EXPECT_TRUE(Ask(1, 10, absl::Milliseconds(1)).ok()) << "nothing is known of the device yet";
  {
    clock_.Advance(absl::Milliseconds(100));
    admission_.Computed(100, 100);
  }
  EXPECT_EQ(Ask(1, 10, absl::Milliseconds(1)).code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(AdmissionTest, TheTimeIsThatOfWhatIsAheadAndOfTheCallWithAQuarterMore) {
  Measure();
  const auto ahead = Admitted(1, 600);
  // (600 + 200) ms, and a quarter more.
  EXPECT_TRUE(Ask(1, 200, absl::Milliseconds(1001)).ok());
  const absl::Status refused = Ask(1, 200, absl::Milliseconds(999));
  EXPECT_EQ(StatusReason(refused), "QUEUE_FULL");
  EXPECT_EQ(RetryDelay(refused), absl::Milliseconds(600));
}

TEST_F(AdmissionTest, AShortCallWaitsForAShareOfALongOne) {
  Measure();
  const auto ahead = Admitted(100, 5000);  // 50 tokens each, of which one goes before the only text of the other
  EXPECT_TRUE(Ask(1, 30, absl::Milliseconds(101)).ok());
  EXPECT_FALSE(Ask(1, 30, absl::Milliseconds(99)).ok());
  EXPECT_FALSE(Ask(2, 30, absl::Milliseconds(101)).ok());
}

TEST_F(AdmissionTest, WhatAStreamBringsCountsForOthers) {
  Measure();
  const auto stream = admission_.Join();
  for (int i = 0; i < 2000; ++i) stream->Add(10);  // twice what a call might wait for
  EXPECT_EQ(admission_.waiting_tokens(), 20'000);
  EXPECT_TRUE(Ask(1, 30, absl::Milliseconds(51)).ok());  // (10 + 30) ms, and a quarter more
  EXPECT_FALSE(Ask(1, 30, absl::Milliseconds(49)).ok());
  for (int i = 0; i < 2000; ++i) stream->Answered(10);
  EXPECT_EQ(admission_.waiting_tokens(), 0);
}

TEST_F(AdmissionTest, NobodyWaitsLongerThanTheQueueLasts) {
  Measure();
  auto ahead = Admitted(1, 9'000);
  EXPECT_TRUE(Ask(1, 10, absl::InfiniteDuration()).ok());
  const auto more = Admitted(1, 2'000);
  const absl::Status refused = Ask(1, 10, absl::InfiniteDuration());
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(RetryDelay(refused), absl::Seconds(10));
  // A call that is over, or whose texts are answered, holds nobody up.
  more->Answered(2'000);
  EXPECT_TRUE(Ask(1, 10, absl::InfiniteDuration()).ok());
  ahead.reset();
  EXPECT_EQ(admission_.waiting_tokens(), 0);
}

TEST_F(AdmissionTest, AnIdleDeviceTakesWhateverComes) {
  Measure();
  EXPECT_TRUE(Ask(1, 1'000'000, absl::Milliseconds(1)).ok());
}

TEST_F(AdmissionTest, ShortBatchesOfAnIdleDeviceDoNotMakeItSlow) {
  Measure();
  for (int i = 0; i < 50; ++i) {
    const auto ticket = Admitted(1, 5);
    clock_.Advance(absl::Milliseconds(50));  // 10 ms for each token
    admission_.Computed(5, 100);
  }
  EXPECT_NEAR(admission_.tokens_per_second(), 1000, 1);
  // A batch that was faster says that it can be.
  const auto ticket = Admitted(1, 5);
  clock_.Advance(absl::Milliseconds(1));
  admission_.Computed(5, 100);
  EXPECT_GT(admission_.tokens_per_second(), 1000);
}

TEST_F(AdmissionTest, TextsSayHowManyTokensTheNextOnesHave) {
  Measure();
  const auto ahead = Admitted(1, 600);
  {
    // Two bytes for each token, where four are taken for granted before.
    auto ticket = admission_.Admit(1, 1'000'000, absl::InfiniteFuture());
    ASSERT_TRUE(ticket.ok());
    (*ticket)->Tokenized(1, 500'000, 1'000'000);
  }
  EXPECT_TRUE(admission_.Admit(1, 400, clock_.Now() + absl::Milliseconds(1001)).ok());
  EXPECT_FALSE(admission_.Admit(1, 400, clock_.Now() + absl::Milliseconds(999)).ok());
}

}  // namespace
}  // namespace engram::serve
