#include "core/web/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace engram::web {
namespace {

using testing::ElementsAre;

PageText Read(const std::string& bytes, const std::string& type) {
  absl::StatusOr<PageText> page = ReadPage(bytes, type);
  EXPECT_TRUE(page.ok()) << page.status();
  return page.ok() ? *std::move(page) : PageText();
}
std::string Reason(const std::string& bytes, const std::string& type) {
  return StatusReason(ReadPage(bytes, type).status());
}

TEST(Page, PlainTextIsItselfInBlocks) {
  const PageText page = Read("\xEF\xBB\xBF\r\n First\r\nline \r\n \t\r\nSecond\rpiece\n\n\n  Third\n", "TEXT/plain");
  EXPECT_EQ(page.text, "First\nline \n \t\nSecond\npiece\n\n\n  Third");
  std::vector<std::string> pieces;
  for (const Block& block : page.blocks)
    pieces.push_back(page.text.substr(static_cast<size_t>(block.start), static_cast<size_t>(block.end - block.start)));
  EXPECT_THAT(pieces, ElementsAre("First\nline ", "Second\npiece", "  Third"));
  EXPECT_EQ(page.charset, "utf-8");
}

TEST(Page, HtmlGivesItsArticleInTheCharsetThatItNames) {
  const PageText page = Read(
      "<html lang=fr><head><meta charset=latin1><title>Caf\xE9</title></head><body><p>Un caf\xE9, "
      "s'il vous pla\xEEt, et un autre, pour la table d'\xE0 c\xF4t\xE9.</p></body></html>",
      "text/html");
  EXPECT_EQ(page.title, "Caf\u00E9");
  EXPECT_EQ(page.language, "fr");
  EXPECT_EQ(page.charset, "windows-1252");
  EXPECT_EQ(page.replaced, 0);
  EXPECT_EQ(page.text, "Un caf\u00E9, s'il vous pla\u00EEt, et un autre, pour la table d'\u00E0 c\u00F4t\u00E9.");
  EXPECT_EQ(Read("<p>a\xFFz, and more of it</p>", "text/html; charset=utf-8").replaced, 1);
}

TEST(Page, WhatHasNoTextSaysSo) {
  EXPECT_EQ(Reason("<body><div id=app></div><script>render()</script></body>", "text/html"), "NO_TEXT");
  EXPECT_EQ(Reason(" \r\n ", "text/plain"), "NO_TEXT");
  EXPECT_EQ(Reason("x", "image/png"), "CONTENT_TYPE");
  EXPECT_EQ(Reason("x", ""), "CONTENT_TYPE");
  EXPECT_EQ(Reason(std::string("%PDF-1.4\0\0", 10), "text/plain"), "NOT_TEXT");
}

}  // namespace
}  // namespace engram::web
