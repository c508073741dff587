#include "core/web/page.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/web/article.h"
#include "core/web/charset.h"

namespace engram::web {
namespace {

constexpr std::string_view kSpace = " \t\n\r\v\f";

// CR LF and CR become LF; what stands at both ends and is no text goes.
std::string TidyPlain(std::string_view text) {
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return "";
  text = text.substr(first, text.find_last_not_of(kSpace) - first + 1);
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r') {
      out += text[i];
    } else if (i + 1 >= text.size() || text[i + 1] != '\n') {
      out += '\n';
    }
  }
  return out;
}

// Pieces between lines that hold nothing but white space.
std::vector<Block> PlainBlocks(const std::string& text) {
  std::vector<Block> blocks;
  size_t start = std::string::npos, end = 0;  // of the piece that is being read
  for (size_t at = 0; at <= text.size();) {
    const size_t line_end = std::min(text.find('\n', at), text.size());
    const std::string_view line(text.data() + at, line_end - at);
    if (line.find_first_not_of(kSpace) != std::string_view::npos) {
      if (start == std::string::npos) start = at;
      end = line_end;
    } else if (start != std::string::npos) {
      blocks.push_back({BlockKind::kParagraph, static_cast<int64_t>(start), static_cast<int64_t>(end)});
      start = std::string::npos;
    }
    at = line_end + 1;
  }
  if (start != std::string::npos)
    blocks.push_back({BlockKind::kParagraph, static_cast<int64_t>(start), static_cast<int64_t>(end)});
  return blocks;
}

}  // namespace

std::string MediaType(std::string_view content_type) {
  std::string type(content_type.substr(0, content_type.find(';')));
  absl::AsciiStrToLower(&type);
  absl::StripAsciiWhitespace(&type);
  return type;
}

bool IsTextType(std::string_view media_type) {
  return media_type == "text/html" || media_type == "application/xhtml+xml" || media_type == "text/plain";
}

absl::StatusOr<PageText> ReadPage(std::string_view bytes, std::string_view content_type) {
  const std::string type = MediaType(content_type);
  if (!IsTextType(type)) {
    return StatusWithReason(
        absl::StatusCode::kFailedPrecondition, "CONTENT_TYPE",
        absl::StrCat("it is ", type.empty() ? "of no stated type" : absl::CHexEscape(type.substr(0, 100)),
                     "; only text/html, application/xhtml+xml and text/plain are read"));
  }
  const bool html = type != "text/plain";
  ENGRAM_ASSIGN_OR_RETURN(DecodedPage decoded, DecodePage(bytes, CharsetParameter(content_type), html));
  PageText page;
  page.charset = std::move(decoded.charset);
  page.replaced = decoded.replaced;
  if (html) {
    ENGRAM_ASSIGN_OR_RETURN(Article article, ExtractArticle(decoded.text));
    page.title = std::move(article.title);
    page.language = std::move(article.language);
    page.text = std::move(article.text);
    page.blocks = std::move(article.blocks);
  } else {
    page.text = TidyPlain(decoded.text);
    page.blocks = PlainBlocks(page.text);
  }
  if (page.text.find_first_not_of(kSpace) != std::string::npos) return page;
  return StatusWithReason(absl::StatusCode::kFailedPrecondition, "NO_TEXT",
                          html ? "it has no text; a script may make it in a browser" : "it is empty");
}

}  // namespace engram::web
