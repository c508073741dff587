#pragma once

// An HTML page as a flat tree: gumbo's parse (HTML5), bounded in memory, time and depth, and copied into one array in
// document order, so that a subtree is a range and every pass over it is a loop.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "core/base/status.h"

namespace engram::web {

// Tags that the rules of extraction know; all others are kOther.
enum class Tag : uint8_t {
  kText,
  kOther,
  kA,
  kAbbr,
  kAddress,
  kArticle,
  kAside,
  kB,
  kBlockquote,
  kBody,
  kBr,
  kButton,
  kCaption,
  kCode,
  kDd,
  kDel,
  kDetails,
  kDiv,
  kDl,
  kDt,
  kEm,
  kEmbed,
  kFieldset,
  kFigcaption,
  kFigure,
  kFont,
  kFooter,
  kForm,
  kH1,
  kH2,
  kH3,
  kH4,
  kH5,
  kH6,
  kHead,
  kHeader,
  kHr,
  kHtml,
  kI,
  kIframe,
  kImg,
  kInput,
  kLabel,
  kLi,
  kMain,
  kNav,
  kNoscript,
  kObject,
  kOl,
  kP,
  kPre,
  kScript,
  kSection,
  kSelect,
  kSmall,
  kSpan,
  kStrong,
  kStyle,
  kSub,
  kSummary,
  kSup,
  kSvg,
  kTable,
  kTbody,
  kTd,
  kTemplate,
  kTextarea,
  kTfoot,
  kTh,
  kThead,
  kTime,
  kTitle,
  kTr,
  kU,
  kUl,
  kVideo,
  kAudio,
  kMath,
};

struct Node {
  Tag tag = Tag::kOther;
  int32_t parent = -1;
  int32_t end = 0;        // one past the last node below it
  std::string_view text;  // kText: as it stands, entities resolved
  std::string names;      // class, then id, lower case, one space between: what rules look at
  std::string_view role;  // attribute "role"
  bool hidden = false;    // by the attributes hidden, aria-hidden or style
};

struct HtmlLimits {
  size_t max_bytes = size_t{20} << 20;  // of the page
  size_t max_memory = size_t{1} << 30;  // that the parse takes
  int32_t max_depth = 400;              // of nested elements
  absl::Duration max_time = absl::Seconds(20);
};

// Owns what its views point to. Movable.
class HtmlTree {
 public:
  // `html`: UTF-8 (bytes that are not become U+FFFD). Never fails for bad HTML. RESOURCE_EXHAUSTED with reason
  // PAGE_TOO_LARGE, PAGE_TOO_DEEP or PAGE_TOO_COMPLEX past a limit.
  static absl::StatusOr<HtmlTree> Parse(std::string_view html, const HtmlLimits& limits = {});
  HtmlTree(HtmlTree&&) noexcept;
  HtmlTree& operator=(HtmlTree&&) noexcept;
  ~HtmlTree();

  const std::vector<Node>& nodes() const { return nodes_; }
  // <title>, and <meta property="og:title">; empty if there is none.
  std::string_view title() const { return title_; }
  std::string_view og_title() const { return og_title_; }
  // <html lang>.
  std::string_view language() const { return language_; }

 private:
  class Arena;
  explicit HtmlTree(std::unique_ptr<Arena> arena);
  std::unique_ptr<Arena> arena_;  // gumbo's memory
  std::vector<Node> nodes_;
  std::string_view title_, og_title_, language_;
};

}  // namespace engram::web
