#include "core/corpus/sniff.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "core/base/status.h"
#include "core/corpus/conll_lines.h"
#include "core/corpus/lines.h"
#include "core/tagging/bio.h"
#include "core/tagging/words.h"
#include "nlohmann/json.hpp"

namespace engram::corpus {
namespace {

constexpr size_t kMaxLineBytes = size_t{1} << 20;
constexpr size_t kMaxLabelBytes = 64;

std::string_view FirstLine(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const LineEnd line = FindLineEnd(text, at);
    const std::string_view trimmed = tagging::TrimWhiteSpace(text.substr(at, line.end - at));
    if (!trimmed.empty()) return trimmed;
    at = line.next;
  }
  return {};
}

// One way in which lines may hold their labels, while all lines seen so far do.
struct LabelPlace {
  LineLabel label;
  // The label of a line; empty if it has none there.
  std::string_view In(std::string_view line) const {
    if (label.separator == 0) {
      const std::string_view lead = line.substr(0, line.find(' '));
      const size_t colon = lead.find(':');
      const bool number = lead.find_first_not_of("0123456789") == std::string_view::npos;
      const bool inner = colon != std::string_view::npos && colon > 0 && colon + 1 < lead.size() &&
                         lead.find_first_of("/.,;0123456789") == std::string_view::npos;
      return lead.size() < line.size() && (label.behind ? inner : number) ? lead : std::string_view();
    }
    const size_t at = label.behind ? line.rfind(label.separator) : line.find(label.separator);
    if (at == std::string_view::npos || at == 0 || at + 1 == line.size()) return {};
    const bool spaced = line[at - 1] == ' ' || line[at + 1] == ' ';
    const std::string_view found = label.behind ? line.substr(at + 1) : line.substr(0, at);
    return spaced || found.size() > kMaxLabelBytes || found.find_first_of(" \t") != std::string_view::npos
               ? std::string_view()
               : found;
  }
};

}  // namespace

std::optional<LineLabel> FindLineLabel(std::string_view text) {
  std::vector<LabelPlace> places;
  for (const char separator : {';', '|', ','}) {
    places.push_back({{separator, true, {}}});
    places.push_back({{separator, false, {}}});
  }
  places.push_back({{0, false, {}}});
  places.push_back({{0, true, {}}});
  int64_t lines = 0;
  bool counts_up = true;  // numbers that count the lines are no labels
  int64_t previous = 0;
  ForEachLine(text, [&](int64_t, std::string_view whole) {
    const std::string_view line = tagging::TrimWhiteSpace(whole);
    if (line.empty() || places.empty()) return;
    std::erase_if(places, [&](LabelPlace& place) {
      const std::string_view found = place.In(line);
      if (lines == 0) place.label.first = found;
      if (!found.empty() && place.label.separator == 0 && !place.label.behind) {
        int64_t number = 0;
        const bool small = absl::SimpleAtoi(AbslView(found), &number);
        counts_up = counts_up && small && (lines == 0 || number == previous + 1);
        previous = number;
      }
      return found.empty();
    });
    ++lines;
  });
  if (lines < 2) return std::nullopt;
  std::erase_if(
      places, [&](const LabelPlace& place) { return place.label.separator == 0 && !place.label.behind && counts_up; });
  return places.empty() ? std::nullopt : std::optional(places[0].label);
}

bool LooksLikeJson(std::string_view text) {
  const std::string_view line = FirstLine(text);
  if (line.starts_with('{')) return line.size() <= kMaxLineBytes && nlohmann::json::accept(line);
  if (!line.starts_with('[')) return false;
  const auto at = static_cast<size_t>(line.data() - text.data());
  const size_t behind = text.find_first_not_of(" \t\r\n", at + 1);
  return behind != std::string_view::npos && text[behind] == '{';
}

bool LooksLikeSlashTags(std::string_view text) {
  int64_t lines = 0, tagged = 0;
  bool entity = false;
  ForEachLine(text, [&](int64_t, std::string_view whole) {
    std::string_view line = tagging::TrimWhiteSpace(whole);
    if (line.empty()) return;
    ++lines;
    while (!line.empty()) {
      const size_t end = std::min(line.find(' '), line.size());
      const std::string_view word = line.substr(0, end);
      const size_t slash = word.rfind('/');
      const auto tag = slash == std::string_view::npos ? std::nullopt : tagging::ParseTag(word.substr(slash + 1));
      if (!word.empty() && !tag) return;
      entity = entity || (tag && tag->prefix != 'O');
      line.remove_prefix(std::min(end + 1, line.size()));
    }
    ++tagged;
  });
  return entity && tagged * 10 >= lines * 9;
}

bool LooksLikeTags(std::string_view text) {
  constexpr size_t kColumns = 16;  // of which one may be the tags: from the front and from the back
  constexpr int64_t kLooked = 2000;
  std::array<int64_t, 2 * kColumns> tags{}, entities{};
  int64_t lines = 0;
  bool first = true;
  std::vector<std::string_view> columns;
  for (size_t at = 0; at < text.size() && lines < kLooked;) {
    const LineEnd end = FindLineEnd(text, at);
    const std::string_view line = text.substr(at, end.end - at);
    at = end.next;
    if (IsConllBreak(line) || line.starts_with('#')) continue;
    SplitConllColumns(line, columns);
    bool any = false;
    for (size_t i = 1; i < columns.size(); ++i) {
      const auto tag = tagging::ParseTag(columns[i]);
      if (!tag) continue;
      any = true;
      const auto count = [&](size_t place) {
        ++tags[place];
        entities[place] += tag->prefix != 'O' ? 1 : 0;
      };
      const size_t back = columns.size() - 1 - i;
      if (i < kColumns) count(i);
      if (back < kColumns) count(kColumns + back);
    }
    const bool header = first && !any;
    first = false;
    lines += header ? 0 : 1;
  }
  for (size_t i = 0; i < tags.size(); ++i) {
    if (entities[i] > 0 && tags[i] * 10 >= lines * 9) return true;
  }
  return false;
}

FastTextLines CountFastText(std::string_view text) {
  FastTextLines count;
  ForEachLine(text, [&](int64_t, std::string_view line) {
    const std::string_view trimmed = tagging::TrimWhiteSpace(line);
    if (trimmed.empty()) return;
    ++count.lines;
    count.labelled += trimmed.starts_with("__label__") ? 1 : 0;
  });
  return count;
}

int64_t TabColumns(std::string_view text) {
  int64_t lines = 0, columns = 0;
  bool same = true;
  ForEachLine(text, [&](int64_t, std::string_view line) {
    if (!same || tagging::TrimWhiteSpace(line).empty()) return;
    if (line.starts_with('#') && line.find('\t') == std::string_view::npos) return;
    int64_t here = 1;
    for (const char c : line) here += c == '\t' ? 1 : 0;
    if (lines++ == 0) columns = here;
    same = here == columns;
  });
  return same && lines > 1 ? columns : 1;
}

}  // namespace engram::corpus
