#include "core/longcontext/planner.h"

#include <optional>
#include <utility>

#include "gtest/gtest.h"
#include "tests/unit/tiny_model.h"

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

// The longest text that is said to fit fits, and one token more does not.
TEST(EstimateDocument, TheLargestTextIsWhereTheBytesEnd) {
  const auto model = TinyModel({}, 2, 0);
  SpeedBook speeds;
  EncodeOptions options;
  options.mode = Mode::kFull;
  options.chunk_vectors = false;
  options.positions = nn::PositionPlan{nn::PositionMode::kTiled};
  const auto estimate = [&](int64_t tokens, int64_t free) {
    DocumentPlan plan;
    plan.mode = Mode::kFull;
    plan.tokens = tokens;
    plan.tokens_encoded = tokens + 2;
    const auto made = EstimateDocument(*model, plan, options, free, speeds);
    EXPECT_TRUE(made.ok()) << made.status();
    return *made;
  };
  for (const int64_t free : {3'000'000, 50'000'000, 2'000'000'000}) {
    const int64_t largest = estimate(100, free).largest_tokens;
    ASSERT_GT(largest, 0) << free;
    EXPECT_LE(estimate(largest, free).bytes, free);
    EXPECT_GT(estimate(largest + 1, free).bytes, free);
  }
  EXPECT_EQ(estimate(100, 1000).largest_tokens, 0);
  options.positions.reset();  // 32 rows make 32^2 positions
  EXPECT_EQ(estimate(100, 2'000'000'000).largest_tokens, 32 * 32 - 2);
}

}  // namespace
}  // namespace engram::longcontext
