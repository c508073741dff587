#include "core/checkpoint/retention.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

absl::Time At(const char* text) {
  absl::Time time;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, text, &time, nullptr)) << text;
  return time;
}

VersionManifest Manifest() {
  VersionManifest manifest;
  for (const char* name : {"old", "young", "undated"}) manifest.tasks.emplace_back().name = name;
  return manifest;
}

ManifestMemory Memory() {
  ManifestMemory memory;
  memory.strategy = "er";
  memory.rows = 6;
  memory.tasks = {{"old", 1}, {"young", 2}, {"undated", 3}};
  memory.kept_since = {{"old", "2026-01-01T12:00:00Z"}, {"young", "2026-03-01T00:00:00Z"}};
  return memory;
}

TEST(Retention, WhatIsOlderThanTheDaysOrHasNoDateIsTooOld) {
  const auto too_long = [](int64_t days, const char* now) { return KeptTooLong(Manifest(), Memory(), days, At(now)); };
  EXPECT_THAT(too_long(30, "2026-03-02T00:00:00Z"), UnorderedElementsAre("old", "undated"));
  EXPECT_THAT(too_long(365, "2026-03-02T00:00:00Z"), UnorderedElementsAre("undated"));
  EXPECT_THAT(too_long(0, "2026-03-02T00:00:00Z"), UnorderedElementsAre("old", "undated", "young"));
  // To the second.
  EXPECT_THAT(too_long(59, "2026-03-01T12:00:00Z"), UnorderedElementsAre("undated"));
  EXPECT_THAT(too_long(59, "2026-03-01T12:00:01Z"), UnorderedElementsAre("old", "undated"));
}

TEST(Retention, ATrainingDatesItsOwnTextsAndNoOthers) {
  const absl::Time now = At("2026-05-04T03:02:01Z");
  const std::map<std::string, uint64_t> tasks = {{"old", 1}, {"undated", 1}, {"fresh", 4}};
  EXPECT_THAT(KeptSince(Memory(), tasks, "fresh", /*grows=*/false, now),
              UnorderedElementsAre(Pair("old", "2026-01-01T12:00:00Z"), Pair("fresh", "2026-05-04T03:02:01Z")));
  // Learned again: its texts are new ones. Grown: the old ones stay beside them.
  EXPECT_THAT(KeptSince(Memory(), {{"old", 1}}, "old", /*grows=*/false, now),
              ElementsAre(Pair("old", "2026-05-04T03:02:01Z")));
  EXPECT_THAT(KeptSince(Memory(), {{"old", 1}}, "old", /*grows=*/true, now),
              ElementsAre(Pair("old", "2026-01-01T12:00:00Z")));
  EXPECT_THAT(KeptSince(Memory(), {{"undated", 1}}, "undated", /*grows=*/true, now), IsEmpty());
  EXPECT_THAT(KeptSince({}, {{"first", 1}}, "first", /*grows=*/true, now),
              ElementsAre(Pair("first", "2026-05-04T03:02:01Z")));
}

}  // namespace
}  // namespace engram::checkpoint
