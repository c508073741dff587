#include "core/longcontext/planner.h"

#include <optional>
#include <utility>

#include "gtest/gtest.h"

namespace engram::longcontext {
namespace {

// What is promised to one encode is not free for another, until the first one ends.
TEST(MemoryLedger, RefusesWhatDoesNotFitBesideWhatIsPromised) {
  MemoryLedger ledger;
  Estimate estimate;
  estimate.tokens = 1000;
  estimate.bytes = 600;
  estimate.largest_tokens = 700;
  {
    const auto first = ledger.Reserve(estimate, 1000);
    ASSERT_TRUE(first.ok()) << first.status();
    EXPECT_EQ(ledger.Unpromised(1000), 400);
    const auto second = ledger.Reserve(estimate, 1000);
    ASSERT_EQ(second.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(StatusReason(second.status()), "OUT_OF_MEMORY");
    for (const char* number : {"600", "400", "700", "1000"})
      EXPECT_NE(second.status().message().find(number), absl::string_view::npos) << number;
    EXPECT_TRUE(ledger.Reserve(estimate, 1200).ok());  // and gives it back at once
    EXPECT_EQ(ledger.Unpromised(1000), 400);
  }
  EXPECT_EQ(ledger.Unpromised(1000), 1000);
  EXPECT_EQ(ledger.Unpromised(1000), 1000);
}

TEST(MemoryLedger, AReservationMovesOnce) {
  MemoryLedger ledger;
  Estimate estimate;
  estimate.bytes = 10;
  std::optional<MemoryLedger::Reservation> kept;
  {
    auto made = ledger.Reserve(estimate, 100);
    ASSERT_TRUE(made.ok());
    kept.emplace(*std::move(made));
  }
  EXPECT_EQ(ledger.Unpromised(100), 90);
  kept.reset();
  EXPECT_EQ(ledger.Unpromised(100), 100);
}

}  // namespace
}  // namespace engram::longcontext
