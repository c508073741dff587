#include "core/corpus/json_values.h"

#include <algorithm>

#include "core/corpus/lines.h"
#include "core/tagging/words.h"
#include "nlohmann/json.hpp"

namespace engram::corpus {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

// Behind the value that begins at text[at], an object or a list: where its brackets are all closed, or the end of the
// text if they never are. Brackets in strings do not count.
size_t EndOfValue(std::string_view text, size_t at) {
  int64_t depth = 0;
  bool in_string = false;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (in_string) {
      if (c == '\\') ++at;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if ((c == '}' || c == ']') && --depth <= 0) {
      return at + 1;
    }
  }
  return text.size();
}

// Behind the element of a list that begins at text[at]: at its comma, or at the list's end.
size_t EndOfElement(std::string_view text, size_t at) {
  bool in_string = false;
  while (at < text.size()) {
    const char c = text[at];
    if (in_string) {
      if (c == '\\') ++at;
      in_string = c != '"';
      ++at;
    } else if (c == '{' || c == '[') {
      at = EndOfValue(text, at);
    } else if (c == ',' || c == ']') {
      return at;
    } else {
      in_string = c == '"';
      ++at;
    }
  }
  return text.size();
}

// Counts lines while a reader moves forward.
class LineCounter {
 public:
  explicit LineCounter(std::string_view text) : text_(text), next_(FindLineEnd(text, 0).next) {}
  int64_t At(size_t at) {
    while (next_ <= at && next_ < text_.size()) {
      next_ = FindLineEnd(text_, next_).next;
      ++line_;
    }
    return line_;
  }

 private:
  std::string_view text_;
  size_t next_;  // where the next line begins
  int64_t line_ = 1;
};

using Visit = std::function<void(int64_t, std::string_view)>;

void ForEachElement(std::string_view text, size_t at, const Visit& visit) {
  LineCounter lines(text);
  bool first = true;
  for (++at; at < text.size();) {
    at = text.find_first_not_of(kSpace, at);
    if (at == std::string_view::npos) break;
    const size_t end = std::min(EndOfElement(text, at), text.size());
    const std::string_view element = tagging::TrimWhiteSpace(text.substr(at, end - at));
    const bool closes = end < text.size() && text[end] == ']';
    // An empty list has no element; an empty place between commas is an error.
    if (!element.empty() || !closes || !first) visit(lines.At(at), element);
    first = false;
    at = end + 1;
    if (!closes) continue;
    if (const size_t rest = text.find_first_not_of(kSpace, at); rest != std::string_view::npos)
      visit(lines.At(rest), text.substr(rest));
    return;
  }
  visit(lines.At(text.size()), "");  // the list is never closed
}

}  // namespace

void ForEachJsonValue(std::string_view text, const Visit& visit) {
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return;
  const size_t first_end = text[first] == '[' || text[first] == '{' ? EndOfValue(text, first) : first;
  const bool in_its_line = first_end <= FindLineEnd(text, first).end;
  const bool alone = text.find_first_not_of(kSpace, first_end) == std::string_view::npos;
  if (text[first] == '[' && (alone || !in_its_line)) return ForEachElement(text, first, visit);
  // One broken line does not make lines of JSON objects that span lines.
  if (in_its_line || !nlohmann::json::accept(text.substr(first, first_end - first))) {
    ForEachLine(text, [&](int64_t number, std::string_view line) {
      if (!tagging::TrimWhiteSpace(line).empty()) visit(number, line);
    });
    return;
  }
  LineCounter lines(text);
  for (size_t at = first; at != std::string_view::npos;) {
    const bool object = text[at] == '{';
    const size_t end = object ? EndOfValue(text, at) : text.size();
    visit(lines.At(at), text.substr(at, end - at));
    at = text.find_first_not_of(kSpace, end);
  }
}

}  // namespace engram::corpus
