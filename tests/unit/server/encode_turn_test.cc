#include "server/inference/encode_turn.h"

#include <string>

#include "core/base/clock.h"
#include "gtest/gtest.h"

namespace engram::server {
namespace {

engram::v1::LongContextEncodeRequest OfBytes(size_t bytes) {
  engram::v1::LongContextEncodeRequest request;
  request.set_text(std::string(bytes, 'a'));
  return request;
}

TEST(EncodeTurn, ACallThatOthersWouldKeepBeyondItsDeadlineIsRefused) {
  FakeClock clock;
  serve::Admission admission(clock, absl::InfiniteDuration());
  const auto ask = [&](const engram::v1::LongContextEncodeRequest& request, absl::Duration patience) {
    EncodeTurn turn;
    return turn.Take(admission, request, clock.Now() + patience);
  };
  {
    EncodeTurn running;
    ASSERT_TRUE(running.Take(admission, OfBytes(4000), absl::InfiniteFuture()).ok());
    engram::v1::LongContextPlan plan;
    plan.set_tokens_encoded(1000);
    running.Planned(plan);
    EXPECT_TRUE(ask(OfBytes(400), absl::Milliseconds(1)).ok()) << "nothing is known of its speed yet";
    clock.Advance(absl::Seconds(1));
    engram::v1::LongContextProgress progress;
    progress.set_done(50);
    progress.set_total(100);
    running.Progressed(progress);
    EXPECT_NEAR(admission.tokens_per_second(), 500, 1);
    // 500 tokens of the other's and 100 of its own, at 500 a second, and a quarter more.
    EXPECT_TRUE(ask(OfBytes(400), absl::Milliseconds(1510)).ok());
    EXPECT_EQ(StatusReason(ask(OfBytes(400), absl::Milliseconds(1490))), "QUEUE_FULL");
    engram::v1::LongContextEncodeRequest plan_alone = OfBytes(400);
    plan_alone.set_validate_only(true);
    EXPECT_TRUE(ask(plan_alone, absl::Milliseconds(1)).ok());
    progress.set_done(100);
    clock.Advance(absl::Seconds(1));
    running.Progressed(progress);
    EXPECT_NEAR(admission.tokens_per_second(), 500, 1);
    EXPECT_EQ(admission.waiting_tokens(), 0);
    EXPECT_TRUE(ask(OfBytes(400), absl::Milliseconds(1)).ok());
    running.Planned(plan);
    EXPECT_EQ(admission.waiting_tokens(), 1000);
  }
  EXPECT_EQ(admission.waiting_tokens(), 0) << "a call that is gone holds nobody up";
}

}  // namespace
}  // namespace engram::server
