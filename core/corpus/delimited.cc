#include "core/corpus/delimited.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace engram::corpus {
namespace {

// One cell that begins with a quote at text[at]; leaves `at` behind its closing quote. False if it is never closed.
bool ReadQuoted(std::string_view text, size_t& at, std::string& cell) {
  for (++at; at < text.size(); ++at) {
    if (text[at] != '"') {
      cell += text[at];
    } else if (at + 1 < text.size() && text[at + 1] == '"') {
      cell += '"';
      ++at;
    } else {
      ++at;
      return true;
    }
  }
  return false;
}

bool AtLineEnd(std::string_view text, size_t at) {
  return at >= text.size() || text[at] == '\n' || (text[at] == '\r' && (at + 1 == text.size() || text[at + 1] == '\n'));
}

}  // namespace

absl::StatusOr<std::vector<DelimitedRow>> ParseDelimited(std::string_view text, char separator,
                                                         std::string_view field) {
  std::vector<DelimitedRow> rows;
  int64_t line = 1;
  size_t at = 0;
  while (at < text.size()) {
    DelimitedRow row;
    row.line = line;
    while (true) {
      std::string cell;
      const auto where = [&] { return absl::StrCat(AbslView(field), " line ", line); };
      if (at < text.size() && text[at] == '"') {
        const size_t begin = at;
        if (!ReadQuoted(text, at, cell)) return InvalidField(where(), "has a quote that is never closed");
        line += std::count(text.begin() + static_cast<std::ptrdiff_t>(begin),
                           text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
        if (!AtLineEnd(text, at) && text[at] != separator) {
          return InvalidField(where(), "has text behind a closing quote; double the quotes inside of a quoted cell");
        }
      } else {
        while (!AtLineEnd(text, at) && text[at] != separator) cell += text[at++];
      }
      row.cells.push_back(std::move(cell));
      if (AtLineEnd(text, at)) break;
      ++at;  // the separator
    }
    if (at < text.size() && text[at] == '\r') ++at;
    if (at < text.size()) ++at;
    ++line;
    if (row.cells.size() > 1 || !row.cells[0].empty()) rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace engram::corpus
