#pragma once

// The article of a web page: its text without menus, banners, comments and footers, with its lists, tables, headings
// and code.
//
// Example:
//   ASSIGN_OR_RETURN(Article article, ExtractArticle("<html>...<article><p>Text.</p></article>...</html>"));

#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/web/block_text.h"
#include "core/web/html_tree.h"

namespace engram::web {

struct Article {
  std::string title;          // the page's, without the site's name where that is told apart; may be empty
  std::string language;       // <html lang>; may be empty
  std::string text;           // UTF-8; empty if the page has none (scripts may make it in a browser)
  std::vector<Block> blocks;  // in the order of the text; between two of them stands an empty line
};

// `html`: UTF-8. Errors are those of HtmlTree::Parse. Thread-safe.
absl::StatusOr<Article> ExtractArticle(std::string_view html, const HtmlLimits& limits = {});

}  // namespace engram::web
