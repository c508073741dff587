#include "core/web/article.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "core/base/utf8.h"

namespace engram::web {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

const char kSentence[] =
    "TensorFlow, which Google released, is used for machine learning, and most of what is said of it holds elsewhere, "
    "too. ";

std::string Paragraph(int sentences) {
  std::string text;
  for (int i = 0; i < sentences; ++i) text += kSentence;
  return text;
}

Article Extract(const std::string& html) {
  absl::StatusOr<Article> article = ExtractArticle(html);
  EXPECT_TRUE(article.ok()) << article.status();
  return article.ok() ? *std::move(article) : Article();
}

// The blocks as they stand in the text, with their kinds.
std::vector<std::pair<BlockKind, std::string>> Blocks(const Article& article) {
  std::vector<std::pair<BlockKind, std::string>> out;
  for (const Block& block : article.blocks)
    out.emplace_back(block.kind, article.text.substr(block.start, block.end - block.start));
  return out;
}

TEST(Article, KeepsTheTextAndNotWhatStandsAroundIt) {
  const Article article = Extract(
      "<html lang=en><head><title> A\n page </title><script>var x = 'scripted';</script></head><body>"
      "<nav><a href=/>Home</a> <a href=/b>Navigated</a></nav><div class='cookie-banner'>We use cookies, please "
      "agree</div>"
      "<div id=content><p>" +
      Paragraph(3) + "</p><p>" + Paragraph(4) +
      " Last.</p></div>"
      "<div class=sidebar><p>" +
      Paragraph(1) +
      "sidebarred</p></div><p style='display: none'>hidden one</p>"
      "<footer><p>Copyright, all rights reserved, and so on</p></footer></body></html>");
  EXPECT_EQ(article.title, "A page");
  EXPECT_EQ(article.language, "en");
  EXPECT_THAT(article.text, HasSubstr("Last."));
  for (const char* gone : {"Navigated", "cookies", "scripted", "sidebarred", "hidden", "Copyright"})
    EXPECT_THAT(article.text, Not(HasSubstr(gone)));
}

TEST(Article, KeepsListsTablesHeadingsAndCode) {
  const Article article =
      Extract("<body><article><h2>Of\n heads</h2><p>" + Paragraph(5) +
              "</p><ul><li>First, of two</li><li>Second</li></ul>"
              "<table><tr><th>Name</th><th>Year</th></tr><tr><td>Engram</td><td><p>2026</p></td></tr></table>"
              "<pre>if x:\n    y()</pre><blockquote>Said <b>so</b></blockquote><p>One<br>two</p></article></body>");
  const auto blocks = Blocks(article);
  using Found = std::pair<BlockKind, std::string>;
  ASSERT_EQ(blocks.size(), 10u) << article.text;
  EXPECT_EQ(blocks[0], Found(BlockKind::kHeading, "Of heads"));
  EXPECT_EQ(blocks[1].first, BlockKind::kParagraph);
  EXPECT_EQ(blocks[2], Found(BlockKind::kListItem, "First, of two"));
  EXPECT_EQ(blocks[3], Found(BlockKind::kListItem, "Second"));
  EXPECT_EQ(blocks[4], Found(BlockKind::kTableRow, "Name\tYear"));
  EXPECT_EQ(blocks[5], Found(BlockKind::kTableRow, "Engram\t2026"));
  EXPECT_EQ(blocks[6], Found(BlockKind::kCode, "if x:\n    y()"));
  EXPECT_EQ(blocks[7], Found(BlockKind::kQuote, "Said so"));
  EXPECT_EQ(blocks[8], Found(BlockKind::kParagraph, "One"));
  EXPECT_EQ(blocks[9], Found(BlockKind::kParagraph, "two"));
}

TEST(Article, UnclosedParagraphsAreNotTextTwice) {
  // html.parser gives "a b c", "b c", "c".
  const Article article = Extract("<body><div><p>alpha " + Paragraph(2) + "<p>beta " + Paragraph(2) + "<p>gamma");
  EXPECT_EQ(article.text.find("gamma"), article.text.rfind("gamma"));
  EXPECT_EQ(article.text.find("beta"), article.text.rfind("beta"));
}

TEST(Article, APageWithoutTextIsEmpty) {
  EXPECT_THAT(Extract("").text, IsEmpty());
  EXPECT_THAT(Extract("<body><div id=app></div><script>render()</script></body>").text, IsEmpty());
}

std::string Repeat(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

TEST(Article, BombsAreRefused) {
  const auto reason = [](const std::string& html, const HtmlLimits& limits = {}) {
    return StatusReason(ExtractArticle(html, limits).status());
  };
  EXPECT_EQ(reason(Repeat("<div>", 500) + "x"), "PAGE_TOO_DEEP");
  EXPECT_EQ(reason(Repeat("<div>", 300) + "x"), "OK");
  EXPECT_EQ(reason(std::string(100, 'x'), {.max_bytes = 99}), "PAGE_TOO_LARGE");
  // Each <p> repeats all the elements of formatting that are open: memory grows with the square.
  std::string formatting = "<p>";
  for (int i = 0; i < 300; ++i) formatting += "<b id=" + std::to_string(i) + ">";
  formatting += "</p>";  // closes them, but they count as open for what follows
  EXPECT_EQ(reason(formatting + Repeat("<p>x</p>", 300), {.max_memory = size_t{4} << 20}), "PAGE_TOO_COMPLEX");
  EXPECT_EQ(reason(Repeat("<div>", 200'000), {.max_time = absl::Milliseconds(200)}).substr(0, 8), "PAGE_TOO");
}

TEST(Article, MutatedPagesNeverBreakIt) {
  const std::string page = "<html><body><table><tr><td><ul><li>A &amp; b</li></ul><p class='x' id=y>" + Paragraph(2) +
                           "</p></td></tr></table><pre>\n c </pre><svg><title>t</title></svg><a href='#'>l</a></body>";
  std::mt19937 random(5);
  for (int round = 0; round < 3000; ++round) {
    std::string mutated = page;
    for (int change = 0; change < 12; ++change) {
      const size_t at = random() % mutated.size();
      if (random() % 2 == 0) {
        mutated[at] = "<>/\"'& pd\xC3\xFF"[random() % 11];
      } else {
        mutated.insert(at, mutated.substr(random() % mutated.size(), random() % 20));
      }
    }
    const Article article = Extract(mutated);
    int64_t end = 0;
    for (const Block& block : article.blocks) {
      ASSERT_GE(block.start, end);
      ASSERT_GT(block.end, block.start);
      end = block.end;
    }
    ASSERT_EQ(end, static_cast<int64_t>(article.text.size()));
    ASSERT_FALSE(FindInvalidUtf8(article.text)) << mutated;
  }
}

}  // namespace
}  // namespace engram::web
