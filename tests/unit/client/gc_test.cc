#include <string>
#include <vector>

#include "client/gc_verb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::client {
namespace {

using ::testing::ElementsAre;

// Versions 5 to 1, of which 4 and 1 have labels: those that go.
std::vector<std::string> Collected(int64_t keep) {
  std::vector<engram::v1::Version> versions(5);
  for (int i = 0; i < 5; ++i) versions[static_cast<size_t>(i)].set_name(std::to_string(5 - i));
  versions[1].add_labels("stable");
  versions[4].add_labels("first");
  std::vector<std::string> names;
  for (const auto& version : ToCollect(versions, keep)) names.push_back(version.name());
  return names;
}

TEST(Gc, WhatHasALabelAndTheNewestStay) {
  EXPECT_THAT(Collected(1), ElementsAre("3", "2"));
  EXPECT_THAT(Collected(2), ElementsAre("3", "2"));
  EXPECT_THAT(Collected(3), ElementsAre("2"));
  EXPECT_THAT(Collected(4), ElementsAre());
  EXPECT_THAT(Collected(100), ElementsAre());
  EXPECT_THAT(Collected(0), ElementsAre("5", "3", "2"));
}

}  // namespace
}  // namespace engram::client
