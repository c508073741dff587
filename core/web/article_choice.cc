#include "core/web/article_choice.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/web/name_rules.h"

namespace engram::web {
namespace {

constexpr int kLevels = 5;               // ancestors that a paragraph scores for
constexpr size_t kCandidates = 5;        // that are looked at for a common ancestor
constexpr int32_t kLeastParagraph = 25;  // characters

bool IsNeverText(const Node& node) {
  switch (node.tag) {
    case Tag::kScript:
    case Tag::kStyle:
    case Tag::kNoscript:
    case Tag::kTemplate:
    case Tag::kIframe:
    case Tag::kSvg:
    case Tag::kButton:
    case Tag::kSelect:
    case Tag::kTextarea:
    case Tag::kObject:
    case Tag::kEmbed:
    case Tag::kVideo:
    case Tag::kAudio:
    case Tag::kHead:
      return true;
    default:
      return node.hidden;
  }
}

// What stands in lines of its own and may hold a paragraph's text itself.
bool IsScored(Tag tag) {
  switch (tag) {
    case Tag::kSection:
    case Tag::kP:
    case Tag::kTd:
    case Tag::kPre:
      return true;
    default:
      return tag >= Tag::kH2 && tag <= Tag::kH6;
  }
}

double TagScore(Tag tag) {
  switch (tag) {
    case Tag::kDiv:
      return 5;
    case Tag::kPre:
    case Tag::kTd:
    case Tag::kBlockquote:
      return 3;
    case Tag::kAddress:
    case Tag::kOl:
    case Tag::kUl:
    case Tag::kDl:
    case Tag::kDd:
    case Tag::kDt:
    case Tag::kLi:
    case Tag::kForm:
      return -3;
    case Tag::kTh:
      return -5;
    default:
      return IsHeading(tag) ? -5 : 0;
  }
}

class Chooser {
 public:
  Chooser(const HtmlTree& tree, const std::vector<bool>& gone, const std::vector<NodeCounts>& counts,
          const ChoiceRules& rules)
      : nodes_(tree.nodes()),
        gone_(gone),
        counts_(counts),
        rules_(rules),
        scores_(nodes_.size(), 0),
        scored_(nodes_.size(), false) {}

  std::vector<int32_t> Choose() {
    ScoreParagraphs();
    const int32_t top = Top();
    if (top < 0) return {};
    return WithSiblings(top);
  }

 private:
  const Node& At(int32_t i) const { return nodes_[static_cast<size_t>(i)]; }
  const NodeCounts& CountsOf(int32_t i) const { return counts_[static_cast<size_t>(i)]; }
  double& Score(int32_t i) { return scores_[static_cast<size_t>(i)]; }

  // Hands the score of a text to `ancestor` and those above it.
  void AddText(int32_t ancestor, int32_t characters, int32_t commas) {
    if (characters < kLeastParagraph) return;
    const double score = 1 + commas + 1 + std::min(characters / 100, 3);
    for (int level = 0; level < kLevels && ancestor >= 0; ++level, ancestor = At(ancestor).parent) {
      if (At(ancestor).tag == Tag::kHtml) break;
      if (!scored_[static_cast<size_t>(ancestor)]) {
        scored_[static_cast<size_t>(ancestor)] = true;
        Score(ancestor) = TagScore(At(ancestor).tag) + (rules_.weigh_names ? NameWeight(At(ancestor).names) : 0);
      }
      Score(ancestor) += score / (level == 0 ? 1 : level == 1 ? 2 : level * 3);
    }
  }

  // Text that stands loose between the blocks of an element counts as paragraphs below it.
  void AddLooseText(int32_t element) {
    int32_t characters = 0, commas = 0;
    for (int32_t child = element + 1; child < At(element).end; child = At(child).end) {
      if (gone_[static_cast<size_t>(child)]) continue;
      if (IsBlock(At(child).tag) || CountsOf(child).has_block) {
        AddText(element, characters, commas);
        characters = commas = 0;
      } else {
        characters += CountsOf(child).characters;
        commas += CountsOf(child).commas;
      }
    }
    AddText(element, characters, commas);
  }

  void ScoreParagraphs() {
    for (int32_t i = 0; i < static_cast<int32_t>(nodes_.size()); ++i) {
      if (gone_[static_cast<size_t>(i)]) {
        i = At(i).end - 1;
        continue;
      }
      const bool division = At(i).tag == Tag::kDiv;
      if (division && CountsOf(i).has_block) {
        AddLooseText(i);
      } else if (division || IsScored(At(i).tag)) {
        AddText(At(i).parent, CountsOf(i).characters, CountsOf(i).commas);
      }
    }
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (scored_[i]) scores_[i] *= 1 - Share(counts_[i].link_characters, counts_[i].characters);
    }
  }

  int32_t Body() const {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (nodes_[i].tag == Tag::kBody) return counts_[i].characters > 0 ? static_cast<int32_t>(i) : -1;
    }
    return -1;
  }

  int32_t Top() {
    std::vector<int32_t> best;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (scored_[i] && nodes_[i].tag != Tag::kBody) best.push_back(static_cast<int32_t>(i));
    }
    const size_t kept = std::min(best.size(), kCandidates);
    std::partial_sort(best.begin(), best.begin() + static_cast<ptrdiff_t>(kept), best.end(),
                      [this](int32_t a, int32_t b) { return Score(a) != Score(b) ? Score(a) > Score(b) : a < b; });
    best.resize(kept);
    if (best.empty()) return Body();
    return Climb(CommonAncestor(best));
  }

  // The lowest ancestor that at least three other candidates nearly as good have in common; else the best itself.
  int32_t CommonAncestor(const std::vector<int32_t>& best) {
    constexpr double kNearlyAsGood = 0.75;
    constexpr int kNeeded = 3;
    const int32_t top = best.front();
    if (Score(top) <= 0) return top;
    for (int32_t above = At(top).parent; above >= 0 && At(above).tag != Tag::kBody; above = At(above).parent) {
      int below = 0;
      for (size_t i = 1; i < best.size(); ++i)
        below += Score(best[i]) / Score(top) >= kNearlyAsGood && best[i] > above && best[i] < At(above).end;
      if (below >= kNeeded) return above;
    }
    return top;
  }

  // Upwards while the score grows, and past parents that hold nothing else.
  int32_t Climb(int32_t top) {
    double last = Score(top);
    const double least = last / 3;
    for (int32_t parent = At(top).parent; parent >= 0 && At(parent).tag != Tag::kBody; parent = At(parent).parent) {
      if (!scored_[static_cast<size_t>(parent)]) continue;
      if (Score(parent) < least) break;
      if (Score(parent) > last) {
        top = parent;
        break;
      }
      last = Score(parent);
    }
    for (int32_t parent = At(top).parent; parent >= 0 && At(parent).tag != Tag::kBody && Alone(parent, top);
         parent = At(parent).parent) {
      top = parent;
    }
    return top;
  }

  bool Alone(int32_t parent, int32_t child) const {
    for (int32_t i = parent + 1; i < At(parent).end; i = At(i).end) {
      if (i != child && !gone_[static_cast<size_t>(i)] && CountsOf(i).characters > 0) return false;
    }
    return true;
  }

  bool LooksLikeParagraph(int32_t i) const {
    constexpr int32_t kLong = 80;
    constexpr double kMostLinks = 0.25;
    const NodeCounts& counts = CountsOf(i);
    if (At(i).tag != Tag::kP || counts.characters == 0) return false;
    const double links = Share(counts.link_characters, counts.characters);
    return counts.characters > kLong ? links < kMostLinks : links == 0 && counts.commas > 0;
  }

  std::vector<int32_t> WithSiblings(int32_t top) {
    constexpr double kShareOfTop = 0.2, kLeast = 10;
    const double threshold = std::max(kLeast, Score(top) * kShareOfTop);
    const int32_t parent = At(top).parent;
    if (parent < 0) return {top};
    std::vector<int32_t> roots;
    for (int32_t i = parent + 1; i < At(parent).end; i = At(i).end) {
      if (gone_[static_cast<size_t>(i)]) continue;
      const bool alike = !At(i).names.empty() && At(i).names == At(top).names;
      const double bonus = alike ? Score(top) * kShareOfTop : 0;
      const bool good = scored_[static_cast<size_t>(i)] && Score(i) + bonus >= threshold;
      if (i == top || good || LooksLikeParagraph(i)) roots.push_back(i);
    }
    return roots;
  }

  const std::vector<Node>& nodes_;
  const std::vector<bool>& gone_;
  const std::vector<NodeCounts>& counts_;
  const ChoiceRules rules_;
  std::vector<double> scores_;
  std::vector<bool> scored_;
};

// A table of data, not of layout.
bool IsDataTable(const std::vector<Node>& nodes, int32_t table) {
  if (nodes[static_cast<size_t>(table)].role == "presentation") return false;
  int rows = 0, cells = 0;
  for (int32_t i = table + 1; i < nodes[static_cast<size_t>(table)].end; ++i) {
    switch (nodes[static_cast<size_t>(i)].tag) {
      case Tag::kTable:
        return false;  // a table within it: layout
      case Tag::kCaption:
      case Tag::kTh:
      case Tag::kThead:
      case Tag::kTfoot:
        return true;
      case Tag::kTr:
        ++rows;
        break;
      case Tag::kTd:
        ++cells;
        break;
      default:
        break;
    }
  }
  constexpr int kManyRows = 10, kManyCells = 10;
  return rows >= kManyRows || (rows > 1 && cells > kManyCells) || (rows > 0 && cells > 4 * rows);
}

// Whether a list, box or table of an article is something else than its text.
bool IsNoText(const Node& node, const NodeCounts& counts, const ChoiceRules& rules, bool in_figure) {
  const int weight = rules.weigh_names ? NameWeight(node.names) : 0;
  if (weight < 0) return true;
  constexpr int32_t kManyCommas = 10;
  if (counts.commas >= kManyCommas) return false;
  const double links = Share(counts.link_characters, counts.characters);
  const double headings = Share(counts.heading_characters, counts.characters);
  const bool list =
      node.tag == Tag::kUl || node.tag == Tag::kOl || Share(counts.list_characters, counts.characters) > 0.9;
  const int32_t items = counts.items - 100;
  if (counts.images > 1 && Share(counts.paragraphs, counts.images) < 0.5 && !in_figure) return true;
  if (!list && items > counts.paragraphs) return true;
  if (counts.inputs > counts.paragraphs / 3) return true;
  if (!list && headings < 0.9 && counts.characters < 25 && (counts.images == 0 || counts.images > 2) && !in_figure &&
      links > 0)
    return true;
  if (!list && weight < 25 && links > 0.2) return true;
  if (weight >= 25 && links > 0.5) return true;
  if (list && links > 0.5) return true;
  return counts.images == 0 && counts.block_characters == 0 && counts.characters == 0;
}

bool IsCleaned(Tag tag) {
  return tag == Tag::kForm || tag == Tag::kFieldset || tag == Tag::kTable || tag == Tag::kUl || tag == Tag::kOl ||
         tag == Tag::kDiv || tag == Tag::kSection || tag == Tag::kHeader;
}

}  // namespace

std::vector<bool> DropNodes(const HtmlTree& tree, const ChoiceRules& rules) {
  const std::vector<Node>& nodes = tree.nodes();
  std::vector<bool> gone(nodes.size(), false), in_table_or_code(nodes.size(), false);
  for (size_t i = 0; i < nodes.size(); ++i) {
    const Node& node = nodes[i];
    const bool inside = node.parent >= 0 && in_table_or_code[static_cast<size_t>(node.parent)];
    in_table_or_code[i] = inside || node.tag == Tag::kTable || node.tag == Tag::kPre || node.tag == Tag::kCode;
    if (node.tag == Tag::kText) continue;
    gone[i] = IsNeverText(node);
    if (gone[i] || !rules.drop_unlikely || node.tag == Tag::kBody || node.tag == Tag::kA || node.tag == Tag::kHtml)
      continue;
    const bool unlikely = IsUnlikely(node.names) && !MayBeContent(node.names) && !inside;
    gone[i] = unlikely || IsUnlikelyRole(node.role) || node.tag == Tag::kNav || node.tag == Tag::kAside ||
              node.tag == Tag::kFooter;
  }
  return gone;
}

std::vector<int32_t> ChooseArticle(const HtmlTree& tree, const std::vector<bool>& gone,
                                   const std::vector<NodeCounts>& counts, const ChoiceRules& rules) {
  return Chooser(tree, gone, counts, rules).Choose();
}

void CleanArticle(const HtmlTree& tree, const std::vector<NodeCounts>& counts, const ChoiceRules& rules, int32_t root,
                  std::vector<bool>& gone) {
  constexpr int32_t kShareBox = 500;  // characters that a box for sharing has at most
  const std::vector<Node>& nodes = tree.nodes();
  const int32_t end = nodes[static_cast<size_t>(root)].end;
  int32_t data_table_end = root, code_end = root, figure_end = root;
  for (int32_t i = root + 1; i < end; ++i) {
    const auto at = static_cast<size_t>(i);
    const Node& node = nodes[at];
    if (gone[at]) {
      i = node.end - 1;
      continue;
    }
    if (node.tag == Tag::kFigure) figure_end = std::max(figure_end, node.end);
    if (node.tag == Tag::kPre || node.tag == Tag::kCode) code_end = std::max(code_end, node.end);
    if (node.tag == Tag::kTable && IsDataTable(nodes, i)) data_table_end = std::max(data_table_end, node.end);
    const bool heading_of_else =
        (node.tag == Tag::kH1 || node.tag == Tag::kH2) && rules.weigh_names && NameWeight(node.names) < 0;
    const bool else_by_tag = node.tag == Tag::kFooter || node.tag == Tag::kAside || node.tag == Tag::kNav ||
                             node.tag == Tag::kInput || node.tag == Tag::kFigcaption || heading_of_else;
    const bool share = counts[at].characters < kShareBox && IsShareBox(node.names);
    const bool checked = rules.clean && IsCleaned(node.tag) && i >= data_table_end && i >= code_end;
    if (else_by_tag || share || (checked && IsNoText(node, counts[at], rules, i < figure_end))) {
      gone[at] = true;
      i = node.end - 1;
    }
  }
}

}  // namespace engram::web
