#pragma once

// Sums over subtrees that the rules of extraction stand on.

#include <cstdint>
#include <vector>

#include "core/web/html_tree.h"

namespace engram::web {

struct NodeCounts {
  int32_t characters = 0;          // code points, runs of white space as one
  int32_t link_characters = 0;     // of these, within links
  int32_t heading_characters = 0;  // within h1 to h6
  int32_t list_characters = 0;     // within ul and ol
  int32_t block_characters = 0;    // within elements that hold text (p, li, td, pre, ...)
  int32_t commas = 0;
  int32_t paragraphs = 0, items = 0, images = 0, inputs = 0;
  bool has_block = false;  // a block element stands below
};

// `gone[i]`: node i and all below it do not count. One entry per node.
std::vector<NodeCounts> CountNodes(const HtmlTree& tree, const std::vector<bool>& gone);

inline double Share(int32_t part, int32_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

bool IsHeading(Tag tag);
// Elements that stand in lines of their own.
bool IsBlock(Tag tag);

}  // namespace engram::web
