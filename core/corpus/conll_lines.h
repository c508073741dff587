#pragma once

#include <string_view>
#include <vector>

#include "core/corpus/lines.h"
#include "core/tagging/words.h"

namespace engram::corpus {

// Whether a document begins behind the line.
inline bool BeginsConllDocument(std::string_view line) { return line.starts_with("-DOCSTART-"); }

// Whether a line separates sentences: white space alone, or -DOCSTART-.
inline bool IsConllBreak(std::string_view line) {
  return tagging::TrimWhiteSpace(line).empty() || BeginsConllDocument(line);
}

// The columns of a line: between single tabs where it has one, else between runs of spaces. Nothing else separates, so
// that a token may be any other white space. Empty columns at the end of a line are none. At most kMaxConllColumns: what
// follows is in the last one.
constexpr size_t kMaxConllColumns = 1000;
inline void SplitConllColumns(std::string_view line, std::vector<std::string_view>& columns) {
  columns.clear();
  const bool tabs = line.find('\t') != std::string_view::npos;
  for (size_t at = 0; at <= line.size();) {
    size_t end = line.find(tabs ? '\t' : ' ', at);
    if (end == std::string_view::npos || columns.size() + 1 >= kMaxConllColumns) end = line.size();
    if (tabs || end > at) columns.push_back(line.substr(at, end - at));
    at = end + 1;
  }
  while (!columns.empty() && columns.back().find_first_not_of(' ') == std::string_view::npos) columns.pop_back();
}

}  // namespace engram::corpus
