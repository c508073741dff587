#pragma once

#include <cstdint>
#include <string_view>

namespace engram::corpus {

// Where the line that begins at `at` ends, and where the next one begins. Lines end with LF, CR LF or CR alone; CRs
// before an LF (at most kMostReturns, as programs that translate line ends twice write them) are part of its end.
constexpr size_t kMostReturns = 8;
struct LineEnd {
  size_t end = 0, next = 0;
};
inline LineEnd FindLineEnd(std::string_view text, size_t at) {
  const size_t end = text.find_first_of("\r\n", at);
  if (end == std::string_view::npos) return {text.size(), text.size()};
  if (text[end] == '\n') return {end, end + 1};
  const std::string_view run = text.substr(end, kMostReturns + 1);
  const size_t behind = run.find_first_not_of('\r');
  if (behind != std::string_view::npos && run[behind] == '\n') return {end, end + behind + 1};
  return {end, end + 1};
}

// visit(line number from 1, line without its end) for every line; a last line without an end counts, an empty one
// behind the last end does not.
template <typename Visit>
void ForEachLine(std::string_view text, const Visit& visit) {
  int64_t number = 1;
  for (size_t at = 0; at < text.size(); ++number) {
    const LineEnd line = FindLineEnd(text, at);
    visit(number, text.substr(at, line.end - at));
    at = line.next;
  }
}

}  // namespace engram::corpus
