#include "server/heartbeats.h"

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::server {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

TEST(Heartbeats, APoolThatDoesNothingWithItsWorkGetsOlderAndIsYoungAgainOnceItDoes) {
  FakeClock clock;
  WorkPool pool(1), other(1);
  Heartbeats beats(clock);
  absl::Duration engine = absl::ZeroDuration();
  beats.WatchPool("pool", pool);
  beats.WatchPool("other", other);
  beats.Watch("engine", [&] { return engine; });
  const auto drained = [](WorkPool& of) {
    absl::Notification done;
    of.Schedule([&] { done.Notify(); });
    done.WaitForNotification();
  };
  beats.Beat();
  drained(pool), drained(other);
  clock.Advance(absl::Seconds(100));
  EXPECT_EQ(beats.Longest(), absl::ZeroDuration()) << "what has nothing to do does not hang";

  absl::Notification let_go;
  pool.Schedule([&] { let_go.WaitForNotification(); });
  for (int i = 0; i < 3; ++i) {
    beats.Beat();
    drained(other);
    clock.Advance(absl::Seconds(5));
  }
  engine = absl::Seconds(2);
  EXPECT_THAT(beats.Ages(), ElementsAre(Pair("engine", absl::Seconds(2)), Pair("other", absl::ZeroDuration()),
                                        Pair("pool", absl::Seconds(15))));
  EXPECT_EQ(beats.Longest(), absl::Seconds(15));
  EXPECT_THAT(beats.Exposition(), ::testing::EndsWith("# TYPE engram_heartbeat_age_seconds gauge\n"
                                                      "engram_heartbeat_age_seconds{part=\"engine\"} 2\n"
                                                      "engram_heartbeat_age_seconds{part=\"other\"} 0\n"
                                                      "engram_heartbeat_age_seconds{part=\"pool\"} 15\n"));
  let_go.Notify();
  drained(pool);
  EXPECT_EQ(beats.Longest(), absl::Seconds(2));
}

TEST(Heartbeats, APartThatIsAskedIsAskedAgainOnceItIsDone) {
  FakeClock clock;
  Heartbeats beats(clock);
  std::vector<std::function<void()>> asked;
  beats.WatchAsked("calls", [&](std::function<void()> done) { asked.push_back(std::move(done)); });
  beats.Beat();
  clock.Advance(absl::Seconds(3));
  beats.Beat();
  EXPECT_EQ(asked.size(), 1U) << "it has not done what it was asked for";
  EXPECT_EQ(beats.Longest(), absl::Seconds(3));
  asked[0]();
  EXPECT_EQ(beats.Longest(), absl::ZeroDuration());
  beats.Beat();
  EXPECT_EQ(asked.size(), 2U);
}

TEST(Heartbeats, WhatIsOnlyShownDoesNotCount) {
  FakeClock clock;
  Heartbeats beats(clock);
  beats.Watch(
      "jobs", [] { return absl::Minutes(5); }, Heartbeats::Counts::kShown);
  EXPECT_EQ(beats.Longest(), absl::ZeroDuration());
  EXPECT_THAT(beats.Ages(), ElementsAre(Pair("jobs", absl::Minutes(5))));
  EXPECT_THAT(beats.Exposition(), ::testing::HasSubstr("{part=\"jobs\"} 300"));
}

}  // namespace
}  // namespace engram::server
