#pragma once

#include <cstdint>
#include <string_view>

namespace engram::corpus {

// visit(line number from 1, line without its end) for every line; a last line without an end counts, an empty one
// behind the last end does not.
template <typename Visit>
void ForEachLine(std::string_view text, const Visit& visit) {
  int64_t number = 1;
  for (size_t at = 0; at < text.size(); ++number) {
    const size_t end = text.find('\n', at);
    std::string_view line = text.substr(at, end == std::string_view::npos ? end : end - at);
    if (line.ends_with('\r')) line.remove_suffix(1);
    visit(number, line);
    at = end == std::string_view::npos ? text.size() : end + 1;
  }
}

}  // namespace engram::corpus
