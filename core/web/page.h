#pragma once

// From the bytes of a page, or of a document, to its text.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/web/block_text.h"

namespace engram::web {

struct PageText {
  std::string title, language;  // of HTML; may be empty
  std::string text;             // UTF-8, not blank
  std::vector<Block> blocks;    // in the order of the text; between two of them stands an empty line
  std::string charset;          // that the bytes were read by
  int64_t replaced = 0;         // places that could not be decoded: U+FFFD in the text
};

// `content_type`: "text/html", "application/xhtml+xml" or "text/plain", with parameters. HTML gives its article, plain
// text itself without white space at its ends, line ends as "\n", a block for each piece between empty lines. Errors by
// reason: CONTENT_TYPE for any other type, NOT_TEXT (charset.h), NO_TEXT (FAILED_PRECONDITION) for a page without text,
// those of HtmlTree::Parse. Thread-safe.
absl::StatusOr<PageText> ReadPage(std::string_view bytes, std::string_view content_type);

// "text/html; charset=..." -> "text/html", in small letters.
std::string MediaType(std::string_view content_type);
// Whether ReadPage takes a media type.
bool IsTextType(std::string_view media_type);

}  // namespace engram::web
