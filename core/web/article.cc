#include "core/web/article.h"

#include <utility>

#include "core/web/article_choice.h"
#include "core/web/node_counts.h"

namespace engram::web {
namespace {

// An article of fewer characters is sought again with looser rules.
constexpr int64_t kShortText = 500;

constexpr ChoiceRules kPasses[] = {
    {true, true, true}, {false, true, true}, {false, false, true}, {false, false, false}};

BlockText TextBy(const HtmlTree& tree, const ChoiceRules& rules) {
  std::vector<bool> gone = DropNodes(tree, rules);
  const std::vector<NodeCounts> counts = CountNodes(tree, gone);
  const std::vector<int32_t> roots = ChooseArticle(tree, gone, counts, rules);
  for (const int32_t root : roots) CleanArticle(tree, counts, rules, root, gone);
  return RenderText(tree, gone, roots);
}

std::string OneLine(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    if (!space) {
      out += c;
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

}  // namespace

absl::StatusOr<Article> ExtractArticle(std::string_view html, const HtmlLimits& limits) {
  ENGRAM_ASSIGN_OR_RETURN(const HtmlTree tree, HtmlTree::Parse(html, limits));
  BlockText best;
  for (const ChoiceRules& rules : kPasses) {
    BlockText found = TextBy(tree, rules);
    const bool enough = static_cast<int64_t>(found.text.size()) >= kShortText;
    if (enough || found.text.size() > best.text.size()) best = std::move(found);
    if (enough) break;
  }
  Article article;
  article.title = OneLine(tree.og_title().empty() ? tree.title() : tree.og_title());
  article.language = OneLine(tree.language());
  article.text = std::move(best.text);
  article.blocks = std::move(best.blocks);
  return article;
}

}  // namespace engram::web
