#include "core/web/robots.h"

#include <gtest/gtest.h>

#include <string>

namespace engram::web {
namespace {

bool Allowed(const std::string& robots, const std::string& target) {
  return Robots::Parse(robots, "engram").Allows(target);
}

TEST(Robots, TheLongestRuleDecidesAndAllowsOnATie) {
  const std::string file = "User-agent: *\nDisallow: /a\nAllow: /a/b\nDisallow: /tie\nAllow: /tie\n";
  EXPECT_TRUE(Allowed(file, "/"));
  EXPECT_FALSE(Allowed(file, "/a"));
  EXPECT_FALSE(Allowed(file, "/ab"));
  EXPECT_TRUE(Allowed(file, "/a/b/c"));
  EXPECT_TRUE(Allowed(file, "/tie"));
  EXPECT_TRUE(Allowed("User-agent: *\nAllow: /tie\nDisallow: /tie\n", "/tie"));
}

TEST(Robots, GroupsThatNameTheCrawlerStandInsteadOfThoseForAll) {
  const std::string file =
      "User-agent: *\nDisallow: /\n\nUser-agent: other\nUser-agent: ENGRAM/2.0\nDisallow: /x\n\nuser-agent: engram\n"
      "disallow: /y";
  EXPECT_TRUE(Allowed(file, "/"));
  EXPECT_FALSE(Allowed(file, "/x"));
  EXPECT_FALSE(Allowed(file, "/y"));
  EXPECT_FALSE(Allowed("User-agent: engrams\nAllow: /\nUser-agent: *\nDisallow: /", "/")) << "another product";
  EXPECT_TRUE(Allowed("User-agent: engram\nDisallow:\nUser-agent: *\nDisallow: /", "/")) << "an empty rule is none";
}

TEST(Robots, StarsAndTheEndAreUnderstood) {
  const auto disallows = [](const std::string& pattern, const std::string& target) {
    return !Allowed("User-agent: *\nDisallow: " + pattern, target);
  };
  EXPECT_TRUE(disallows("/*.php", "/a/b.php?c"));
  EXPECT_TRUE(disallows("/*.php$", "/a.php/b.php"));
  EXPECT_FALSE(disallows("/*.php$", "/a.php?c"));
  EXPECT_TRUE(disallows("/a*b*c", "/axxbxxc"));
  EXPECT_FALSE(disallows("/a*b*c", "/axxcxxb"));
  EXPECT_TRUE(disallows("*/x", "/a/x"));
  EXPECT_TRUE(disallows("/$", "/"));
  EXPECT_FALSE(disallows("/$", "/a"));
  EXPECT_TRUE(disallows("/\u00E4", "/%C3%A4"));
  EXPECT_TRUE(disallows("/%c3%a4", "/%C3%A4"));
}

TEST(Robots, WhatPeopleWriteIsRead) {
  EXPECT_FALSE(Allowed("\xEF\xBB\xBFUser-agent: *\r\nDisallow: /a # why\r\n", "/a"));
  EXPECT_FALSE(Allowed("User-agent: *\rDisallow: /a", "/a"));
  EXPECT_FALSE(Allowed("USER-AGENT : *\n  disallow /a", "/a"));
  EXPECT_TRUE(Allowed("<html>not found</html>", "/a"));
  EXPECT_TRUE(Allowed("Disallow: /a\nUser-agent: *\nDisallow: /b", "/a")) << "before any agent";
  EXPECT_TRUE(Allowed("User-agent: *\nDisallow: /", "/robots.txt"));
  EXPECT_FALSE(Robots::DisallowAll().Allows("/"));
  EXPECT_TRUE(Robots::AllowAll().Allows("/"));
}

TEST(Robots, NoMoreThanTheLimitIsRead) {
  const std::string filler(Robots::kMaxBytes, '#');
  EXPECT_TRUE(Allowed(filler + "\nUser-agent: *\nDisallow: /", "/"));
  EXPECT_FALSE(Allowed("User-agent: *\nDisallow: /\n" + filler, "/"));
}

TEST(Robots, DelaysAreRead) {
  EXPECT_EQ(Robots::Parse("User-agent: *\nCrawl-delay: 2.5", "engram").delay(), absl::Milliseconds(2500));
  EXPECT_EQ(Robots::Parse("User-agent: x\nCrawl-delay: 2", "engram").delay(), std::nullopt);
  EXPECT_EQ(Robots::Parse("User-agent: *\nCrawl-delay: soon", "engram").delay(), std::nullopt);
}

}  // namespace
}  // namespace engram::web
