#pragma once

// The text of a part of a page, block by block, as a reader sees it.

#include <cstdint>
#include <string>
#include <vector>

#include "core/web/html_tree.h"

namespace engram::web {

enum class BlockKind { kParagraph = 1, kHeading = 2, kListItem = 3, kTableRow = 4, kCode = 5, kQuote = 6 };

struct Block {
  BlockKind kind = BlockKind::kParagraph;
  int64_t start = 0, end = 0;  // bytes of the text, end exclusive
  friend bool operator==(const Block&, const Block&) = default;
};

struct BlockText {
  std::string text;  // UTF-8; blocks with an empty line between them
  std::vector<Block> blocks;
};

// The text below `roots` without what is `gone`. White space becomes one space, but in code, where it stays; cells of a
// table's row have a tab between them. A block that repeats one of at least 100 bytes for the third time is left out.
BlockText RenderText(const HtmlTree& tree, const std::vector<bool>& gone, const std::vector<int32_t>& roots);

}  // namespace engram::web
