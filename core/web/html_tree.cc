#include "core/web/html_tree.h"

#include <gumbo.h>

#include <array>
#include <csetjmp>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/clock.h"

namespace engram::web {
namespace {

constexpr std::pair<GumboTag, Tag> kTags[] = {
    {GUMBO_TAG_A, Tag::kA},
    {GUMBO_TAG_ABBR, Tag::kAbbr},
    {GUMBO_TAG_ADDRESS, Tag::kAddress},
    {GUMBO_TAG_ARTICLE, Tag::kArticle},
    {GUMBO_TAG_ASIDE, Tag::kAside},
    {GUMBO_TAG_B, Tag::kB},
    {GUMBO_TAG_BLOCKQUOTE, Tag::kBlockquote},
    {GUMBO_TAG_BODY, Tag::kBody},
    {GUMBO_TAG_BR, Tag::kBr},
    {GUMBO_TAG_BUTTON, Tag::kButton},
    {GUMBO_TAG_CAPTION, Tag::kCaption},
    {GUMBO_TAG_CODE, Tag::kCode},
    {GUMBO_TAG_DD, Tag::kDd},
    {GUMBO_TAG_DEL, Tag::kDel},
    {GUMBO_TAG_DETAILS, Tag::kDetails},
    {GUMBO_TAG_DIV, Tag::kDiv},
    {GUMBO_TAG_DL, Tag::kDl},
    {GUMBO_TAG_DT, Tag::kDt},
    {GUMBO_TAG_EM, Tag::kEm},
    {GUMBO_TAG_EMBED, Tag::kEmbed},
    {GUMBO_TAG_FIELDSET, Tag::kFieldset},
    {GUMBO_TAG_FIGCAPTION, Tag::kFigcaption},
    {GUMBO_TAG_FIGURE, Tag::kFigure},
    {GUMBO_TAG_FONT, Tag::kFont},
    {GUMBO_TAG_FOOTER, Tag::kFooter},
    {GUMBO_TAG_FORM, Tag::kForm},
    {GUMBO_TAG_H1, Tag::kH1},
    {GUMBO_TAG_H2, Tag::kH2},
    {GUMBO_TAG_H3, Tag::kH3},
    {GUMBO_TAG_H4, Tag::kH4},
    {GUMBO_TAG_H5, Tag::kH5},
    {GUMBO_TAG_H6, Tag::kH6},
    {GUMBO_TAG_HEAD, Tag::kHead},
    {GUMBO_TAG_HEADER, Tag::kHeader},
    {GUMBO_TAG_HR, Tag::kHr},
    {GUMBO_TAG_HTML, Tag::kHtml},
    {GUMBO_TAG_I, Tag::kI},
    {GUMBO_TAG_IFRAME, Tag::kIframe},
    {GUMBO_TAG_IMG, Tag::kImg},
    {GUMBO_TAG_INPUT, Tag::kInput},
    {GUMBO_TAG_LABEL, Tag::kLabel},
    {GUMBO_TAG_LI, Tag::kLi},
    {GUMBO_TAG_MAIN, Tag::kMain},
    {GUMBO_TAG_NAV, Tag::kNav},
    {GUMBO_TAG_NOSCRIPT, Tag::kNoscript},
    {GUMBO_TAG_OBJECT, Tag::kObject},
    {GUMBO_TAG_OL, Tag::kOl},
    {GUMBO_TAG_P, Tag::kP},
    {GUMBO_TAG_PRE, Tag::kPre},
    {GUMBO_TAG_SCRIPT, Tag::kScript},
    {GUMBO_TAG_SECTION, Tag::kSection},
    {GUMBO_TAG_SELECT, Tag::kSelect},
    {GUMBO_TAG_SMALL, Tag::kSmall},
    {GUMBO_TAG_SPAN, Tag::kSpan},
    {GUMBO_TAG_STRONG, Tag::kStrong},
    {GUMBO_TAG_STYLE, Tag::kStyle},
    {GUMBO_TAG_SUB, Tag::kSub},
    {GUMBO_TAG_SUMMARY, Tag::kSummary},
    {GUMBO_TAG_SUP, Tag::kSup},
    {GUMBO_TAG_SVG, Tag::kSvg},
    {GUMBO_TAG_TABLE, Tag::kTable},
    {GUMBO_TAG_TBODY, Tag::kTbody},
    {GUMBO_TAG_TD, Tag::kTd},
    {GUMBO_TAG_TEMPLATE, Tag::kTemplate},
    {GUMBO_TAG_TEXTAREA, Tag::kTextarea},
    {GUMBO_TAG_TFOOT, Tag::kTfoot},
    {GUMBO_TAG_TH, Tag::kTh},
    {GUMBO_TAG_THEAD, Tag::kThead},
    {GUMBO_TAG_TIME, Tag::kTime},
    {GUMBO_TAG_TITLE, Tag::kTitle},
    {GUMBO_TAG_TR, Tag::kTr},
    {GUMBO_TAG_U, Tag::kU},
    {GUMBO_TAG_UL, Tag::kUl},
    {GUMBO_TAG_VIDEO, Tag::kVideo},
    {GUMBO_TAG_AUDIO, Tag::kAudio},
    {GUMBO_TAG_MATH, Tag::kMath},
};

Tag TagOf(GumboTag tag) {
  static const std::array<Tag, GUMBO_TAG_LAST + 1> table = [] {
    std::array<Tag, GUMBO_TAG_LAST + 1> made;
    made.fill(Tag::kOther);
    for (const auto& [theirs, ours] : kTags) made[theirs] = ours;
    return made;
  }();
  return table[static_cast<size_t>(tag)];
}

std::string_view Attribute(const GumboElement& element, const char* name) {
  const GumboAttribute* const attribute = gumbo_get_attribute(&element.attributes, name);
  return attribute == nullptr ? std::string_view() : std::string_view(attribute->value);
}

// style="display:none" or "visibility:hidden", written in any way.
bool StyleHides(std::string_view style) {
  if (style.size() < 12) return false;
  std::string plain;
  for (const char c : style) {
    if (!absl::ascii_isspace(static_cast<unsigned char>(c)))
      plain += static_cast<char>(absl::ascii_tolower(static_cast<unsigned char>(c)));
  }
  return plain.find("display:none") != std::string::npos || plain.find("visibility:hidden") != std::string::npos;
}

// One pass over the attributes.
void ReadAttributes(const GumboElement& element, Node& node) {
  std::string_view id, classes;
  for (unsigned i = 0; i < element.attributes.length; ++i) {
    const auto& attribute = *static_cast<const GumboAttribute*>(element.attributes.data[i]);
    const std::string_view name = attribute.name, value = attribute.value;
    if (name == "class") {
      classes = value;
    } else if (name == "id") {
      id = value;
    } else if (name == "role") {
      node.role = value;
    } else if (name == "hidden") {
      node.hidden = true;
    } else if (name == "aria-hidden") {
      node.hidden = node.hidden || value == "true";
    } else if (name == "style") {
      node.hidden = node.hidden || StyleHides(value);
    }
  }
  if (classes.empty() && id.empty()) return;
  node.names = absl::StrCat(AbslView(classes), " ", AbslView(id));
  absl::AsciiStrToLower(&node.names);
}

std::string_view FirstText(const GumboElement& element) {
  if (element.children.length == 0) return {};
  const auto* const child = static_cast<const GumboNode*>(element.children.data[0]);
  return child->type == GUMBO_NODE_TEXT ? std::string_view(child->v.text.text) : std::string_view();
}

absl::Status TooMuch(const char* reason, std::string_view message) {
  return StatusWithReason(absl::StatusCode::kResourceExhausted, reason, message);
}

}  // namespace

// Memory that is given back all at once: gumbo's own way to free a tree is recursive, and would overflow the stack on a
// deep one. Past a limit it leaves the parse by longjmp, over frames of C alone, which hold nothing but this memory.
class HtmlTree::Arena {
 public:
  explicit Arena(const HtmlLimits& limits) : limits_(limits), deadline_(Clock::Real().Now() + limits.max_time) {}
  ~Arena() {
    for (char* chunk : chunks_) std::free(chunk);
  }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  GumboOutput* Parse(std::string_view html) {
    GumboOptions options = kGumboDefaultOptions;
    options.allocator = [](void* arena, size_t bytes) { return static_cast<Arena*>(arena)->Allocate(bytes); };
    options.deallocator = [](void*, void*) {};
    options.userdata = this;
    options.max_errors = 0;
    if (setjmp(out_) != 0) return nullptr;
    return gumbo_parse_with_options(&options, html.data(), html.size());
  }

 private:
  void* Allocate(size_t bytes) {
    constexpr size_t kChunk = size_t{1} << 18, kAlignment = 16, kCallsBetweenLooks = 4096;
    bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    used_ += bytes;
    if (used_ > limits_.max_memory) std::longjmp(out_, 1);
    if (++calls_ % kCallsBetweenLooks == 0 && Clock::Real().Now() > deadline_) std::longjmp(out_, 1);
    if (bytes > left_) {
      const size_t size = bytes > kChunk ? bytes : kChunk;
      char* const chunk = static_cast<char*>(std::malloc(size));
      if (chunk == nullptr) std::longjmp(out_, 1);
      chunks_.push_back(chunk);
      next_ = chunk;
      left_ = size;
    }
    void* const given = next_;
    next_ += bytes;
    left_ -= bytes;
    return given;
  }

  const HtmlLimits limits_;
  const absl::Time deadline_;
  std::jmp_buf out_;
  std::vector<char*> chunks_;
  char* next_ = nullptr;
  size_t left_ = 0, used_ = 0, calls_ = 0;
};

HtmlTree::HtmlTree(std::unique_ptr<Arena> arena) : arena_(std::move(arena)) {}
HtmlTree::HtmlTree(HtmlTree&&) noexcept = default;
HtmlTree& HtmlTree::operator=(HtmlTree&&) noexcept = default;
HtmlTree::~HtmlTree() = default;

absl::StatusOr<HtmlTree> HtmlTree::Parse(std::string_view html, const HtmlLimits& limits) {
  if (html.size() > limits.max_bytes) {
    return TooMuch("PAGE_TOO_LARGE",
                   absl::StrCat("the page has ", html.size(), " bytes; at most ", limits.max_bytes, " are read"));
  }
  auto arena = std::make_unique<Arena>(limits);
  const GumboOutput* const output = arena->Parse(html);
  if (output == nullptr)
    return TooMuch("PAGE_TOO_COMPLEX", "the page is built such that reading it takes too much memory or time");
  HtmlTree tree(std::move(arena));
  struct Open {
    const GumboNode* node;
    unsigned next_child;
    int32_t index;
  };
  std::vector<Open> open;
  const auto enter = [&](const GumboNode* from) {
    Node node;
    node.parent = open.empty() ? -1 : open.back().index;
    const auto index = static_cast<int32_t>(tree.nodes_.size());
    if (from->type == GUMBO_NODE_ELEMENT || from->type == GUMBO_NODE_TEMPLATE) {
      const GumboElement& element = from->v.element;
      node.tag = element.tag_namespace == GUMBO_NAMESPACE_HTML ? TagOf(element.tag)
                 : element.tag == GUMBO_TAG_SVG                ? Tag::kSvg
                                                               : Tag::kOther;
      ReadAttributes(element, node);
      if (node.tag == Tag::kHtml) tree.language_ = Attribute(element, "lang");
      if (node.tag == Tag::kTitle && tree.title_.empty()) tree.title_ = FirstText(element);
      if (element.tag == GUMBO_TAG_META && Attribute(element, "property") == "og:title" && tree.og_title_.empty())
        tree.og_title_ = Attribute(element, "content");
      tree.nodes_.push_back(std::move(node));
      open.push_back({from, 0, index});
      return;
    }
    if (from->type == GUMBO_NODE_COMMENT) return;
    node.tag = Tag::kText;
    node.text = from->v.text.text;
    node.end = index + 1;
    tree.nodes_.push_back(std::move(node));
  };
  enter(output->root);
  while (!open.empty()) {
    if (static_cast<int32_t>(open.size()) > limits.max_depth) {
      return TooMuch("PAGE_TOO_DEEP", absl::StrCat("the page nests its elements deeper than ", limits.max_depth));
    }
    Open& top = open.back();
    const GumboVector& children = top.node->v.element.children;
    if (top.next_child < children.length) {
      enter(static_cast<const GumboNode*>(children.data[top.next_child++]));
    } else {
      tree.nodes_[static_cast<size_t>(top.index)].end = static_cast<int32_t>(tree.nodes_.size());
      open.pop_back();
    }
  }
  return tree;
}

}  // namespace engram::web
