#include "core/web/block_text.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "core/web/node_counts.h"

namespace engram::web {
namespace {

constexpr size_t kRepeatedBytes = 100;
constexpr int64_t kMostRepeats = 2;

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

class Writer {
 public:
  Writer(const HtmlTree& tree, const std::vector<bool>& gone) : nodes_(tree.nodes()), gone_(gone) {}
  BlockText Take() { return std::move(out_); }

  void Write(int32_t root) {
    struct Open {
      int32_t end;
      BlockKind kind;
      bool block, code, cell;
    };
    std::vector<Open> open = {{nodes_[static_cast<size_t>(root)].end, BlockKind::kParagraph, true, false, false}};
    for (int32_t i = root; i < nodes_[static_cast<size_t>(root)].end;) {
      while (i >= open.back().end) {
        Close(open.back().block);
        open.pop_back();
        Use(open.back().kind, open.back().code);
      }
      const Node& node = nodes_[static_cast<size_t>(i)];
      if (gone_[static_cast<size_t>(i)]) {
        i = node.end;
        continue;
      }
      if (node.tag == Tag::kText) {
        Add(node.text);
      } else if (node.tag == Tag::kBr) {
        Break();
      } else {
        const BlockKind kind = KindOf(node.tag, open.back().kind);
        const bool cell = node.tag == Tag::kTd || node.tag == Tag::kTh;
        // Whatever stands in a row of a table is that row's text.
        const bool in_row = open.back().kind == BlockKind::kTableRow;
        const bool block = IsBlock(node.tag) && !cell && !(in_row && node.tag != Tag::kTr);
        if (block) End();
        if (cell) Separate('\t');
        if (!block && !cell && IsBlock(node.tag)) Separate(' ');
        open.push_back({node.end, kind, block, open.back().code || node.tag == Tag::kPre, cell});
        Use(kind, open.back().code);
      }
      ++i;
    }
    End();
  }

 private:
  static BlockKind KindOf(Tag tag, BlockKind around) {
    switch (tag) {
      case Tag::kLi:
      case Tag::kDd:
      case Tag::kDt:
        return around == BlockKind::kTableRow ? around : BlockKind::kListItem;
      case Tag::kTr:
        return BlockKind::kTableRow;
      case Tag::kPre:
        return around == BlockKind::kTableRow ? around : BlockKind::kCode;
      case Tag::kBlockquote:
        return around == BlockKind::kParagraph ? BlockKind::kQuote : around;
      case Tag::kTable:
        return BlockKind::kParagraph;
      default:
        return IsHeading(tag) && around == BlockKind::kParagraph ? BlockKind::kHeading : around;
    }
  }

  void Use(BlockKind kind, bool code) {
    kind_ = kind;
    code_ = code && kind == BlockKind::kCode;
  }
  void Close(bool block) {
    if (block) End();
  }

  void Add(std::string_view text) {
    if (line_.empty()) line_kind_ = kind_;
    if (code_) {
      line_ += text;
      return;
    }
    for (const char c : text) {
      if (!IsSpace(c)) {
        line_ += c;
      } else if (!line_.empty() && !IsSpace(line_.back())) {
        line_ += ' ';
      }
    }
  }
  void Separate(char c) {
    while (!line_.empty() && line_.back() == ' ') line_.pop_back();
    if (!line_.empty() && line_.back() != '\t') line_ += c;
  }
  // A line break: in code one of the code, else the beginning of a block of the same kind.
  void Break() {
    if (code_) {
      line_ += '\n';
    } else if (kind_ == BlockKind::kTableRow) {
      Separate(' ');
    } else {
      End();
    }
  }

  // Ends the block that is being written.
  void End() {
    std::string line;
    line.swap(line_);
    while (!line.empty() && IsSpace(line.back())) line.pop_back();
    size_t start = 0;
    while (start < line.size() && (line[start] == '\n' || line[start] == '\r')) ++start;  // a code's indentation stays
    line.erase(0, start);
    if (std::all_of(line.begin(), line.end(), IsSpace) || Repeats(line)) return;
    if (!out_.text.empty()) out_.text += "\n\n";
    const auto begin = static_cast<int64_t>(out_.text.size());
    out_.text += line;
    out_.blocks.push_back({line_kind_, begin, static_cast<int64_t>(out_.text.size())});
  }

  bool Repeats(const std::string& line) { return line.size() >= kRepeatedBytes && ++seen_[line] > kMostRepeats; }

  const std::vector<Node>& nodes_;
  const std::vector<bool>& gone_;
  BlockText out_;
  std::unordered_map<std::string, int64_t> seen_;  // long blocks, and how often
  std::string line_;
  BlockKind kind_ = BlockKind::kParagraph, line_kind_ = BlockKind::kParagraph;
  bool code_ = false;
};

}  // namespace

BlockText RenderText(const HtmlTree& tree, const std::vector<bool>& gone, const std::vector<int32_t>& roots) {
  Writer writer(tree, gone);
  for (const int32_t root : roots) writer.Write(root);
  return writer.Take();
}

}  // namespace engram::web
