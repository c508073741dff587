#pragma once

// Which parts of a page are its article: Readability's idea (github.com/mozilla/readability), rebuilt on sums over a
// flat tree. Paragraphs score by length and commas and hand their score to their ancestors; links take it away; the best
// ancestor and the siblings that are like it are the article.

#include <cstdint>
#include <vector>

#include "core/web/html_tree.h"
#include "core/web/node_counts.h"

namespace engram::web {

// How strict one pass is. A page that gives too little is looked at again, less strictly.
struct ChoiceRules {
  bool drop_unlikely = true;  // elements whose names or roles speak of something else
  bool weigh_names = true;    // names of content and of its surroundings
  bool clean = true;          // parts of the article that do not look like text
};

// Nodes that are never text (scripts, forms, what is hidden) and, if the rules say so, unlikely ones. One entry a node.
std::vector<bool> DropNodes(const HtmlTree& tree, const ChoiceRules& rules);

// Roots of the article, in document order; no one below another. Empty if the page has no text.
std::vector<int32_t> ChooseArticle(const HtmlTree& tree, const std::vector<bool>& gone,
                                   const std::vector<NodeCounts>& counts, const ChoiceRules& rules);

// Marks what is no text of the article below `root` in `gone`: lists of links, boxes, figures' controls, data of forms.
void CleanArticle(const HtmlTree& tree, const std::vector<NodeCounts>& counts, const ChoiceRules& rules, int32_t root,
                  std::vector<bool>& gone);

}  // namespace engram::web
