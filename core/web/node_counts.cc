#include "core/web/node_counts.h"

namespace engram::web {
namespace {

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool IsComma(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0; };
  switch (byte(at)) {
    case ',':
      return true;
    case 0xD8:  // U+060C Arabic
      return byte(at + 1) == 0x8C;
    case 0xE3:  // U+3001 ideographic
      return byte(at + 1) == 0x80 && byte(at + 2) == 0x81;
    case 0xEF:  // U+FF0C full width
      return byte(at + 1) == 0xBC && byte(at + 2) == 0x8C;
    default:
      return false;
  }
}

void CountText(std::string_view text, NodeCounts& counts) {
  bool space = true;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_space = IsSpace(text[i]);
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) counts.characters += !is_space || !space;
    space = is_space;
    counts.commas += IsComma(text, i);
  }
  if (space && counts.characters > 0) --counts.characters;
}

void CountElement(Tag tag, NodeCounts& counts) {
  counts.paragraphs += tag == Tag::kP;
  counts.items += tag == Tag::kLi;
  counts.images += tag == Tag::kImg;
  counts.inputs += tag == Tag::kInput;
  if (tag == Tag::kA) counts.link_characters = counts.characters;
  if (IsHeading(tag)) counts.heading_characters = counts.characters;
  if (tag == Tag::kUl || tag == Tag::kOl) counts.list_characters = counts.characters;
  switch (tag) {
    case Tag::kP:
    case Tag::kLi:
    case Tag::kTd:
    case Tag::kBlockquote:
    case Tag::kDl:
    case Tag::kDiv:
    case Tag::kImg:
    case Tag::kOl:
    case Tag::kPre:
    case Tag::kTable:
    case Tag::kUl:
    case Tag::kSpan:
      counts.block_characters = counts.characters;
      break;
    default:
      break;
  }
}

void AddTo(const NodeCounts& from, NodeCounts& to) {
  to.characters += from.characters;
  to.link_characters += from.link_characters;
  to.heading_characters += from.heading_characters;
  to.list_characters += from.list_characters;
  to.block_characters += from.block_characters;
  to.commas += from.commas;
  to.paragraphs += from.paragraphs;
  to.items += from.items;
  to.images += from.images;
  to.inputs += from.inputs;
}

}  // namespace

bool IsHeading(Tag tag) { return tag >= Tag::kH1 && tag <= Tag::kH6; }

bool IsBlock(Tag tag) {
  switch (tag) {
    case Tag::kAddress:
    case Tag::kArticle:
    case Tag::kAside:
    case Tag::kBlockquote:
    case Tag::kCaption:
    case Tag::kDd:
    case Tag::kDetails:
    case Tag::kDiv:
    case Tag::kDl:
    case Tag::kDt:
    case Tag::kFieldset:
    case Tag::kFigcaption:
    case Tag::kFigure:
    case Tag::kFooter:
    case Tag::kForm:
    case Tag::kHeader:
    case Tag::kHr:
    case Tag::kLi:
    case Tag::kMain:
    case Tag::kNav:
    case Tag::kOl:
    case Tag::kP:
    case Tag::kPre:
    case Tag::kSection:
    case Tag::kSummary:
    case Tag::kTable:
    case Tag::kTbody:
    case Tag::kTd:
    case Tag::kTfoot:
    case Tag::kTh:
    case Tag::kThead:
    case Tag::kTr:
    case Tag::kUl:
      return true;
    default:
      return IsHeading(tag);
  }
}

std::vector<NodeCounts> CountNodes(const HtmlTree& tree, const std::vector<bool>& gone) {
  const std::vector<Node>& nodes = tree.nodes();
  std::vector<NodeCounts> counts(nodes.size());
  std::vector<bool> skipped(nodes.size(), false);
  for (size_t i = 0; i < nodes.size(); ++i)
    skipped[i] = gone[i] || (nodes[i].parent >= 0 && skipped[static_cast<size_t>(nodes[i].parent)]);
  // From the last to the first: whatever is below a node comes after it.
  for (size_t i = nodes.size(); i-- > 0;) {
    if (skipped[i]) continue;
    if (nodes[i].tag == Tag::kText) {
      CountText(nodes[i].text, counts[i]);
    } else {
      CountElement(nodes[i].tag, counts[i]);
    }
    if (nodes[i].parent < 0) continue;
    NodeCounts& parent = counts[static_cast<size_t>(nodes[i].parent)];
    AddTo(counts[i], parent);
    parent.has_block = parent.has_block || counts[i].has_block || IsBlock(nodes[i].tag);
  }
  return counts;
}

}  // namespace engram::web
