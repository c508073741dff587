#include "client/split_rows.h"

#include <algorithm>

namespace engram::client {
namespace {

// The cell without its quotes, if it is quoted whole.
std::string Unquoted(const std::string& cell) {
  if (cell.size() < 2 || cell.front() != '"' || cell.back() != '"') return cell;
  std::string inner;
  for (size_t at = 1; at + 1 < cell.size(); ++at) {
    if (cell[at] == '"' && (at + 2 >= cell.size() || cell[++at] != '"')) return cell;
    inner += cell[at];
  }
  return inner;
}

// A quoted cell that begins at text[at]; leaves `at` behind its last quote.
WholeCells ReadQuoted(std::string_view text, size_t& at, std::string& cell) {
  bool tab = false, line_end = false;
  for (++at; at < text.size(); ++at) {
    const char c = text[at];
    tab = tab || c == '\t';
    line_end = line_end || c == '\n';
    if (tab && line_end) return WholeCells::kNone;
    if (c != '"') {
      cell += c;
    } else if (at + 1 < text.size() && text[at + 1] == '"') {
      cell += text[++at];
    } else {
      ++at;
      return WholeCells::kRow;
    }
  }
  return tab ? WholeCells::kNone : WholeCells::kOpen;
}

}  // namespace

bool CsvSplitter::Feed(std::string_view part) {
  for (size_t at = 0; at < part.size(); ++at) {
    const char c = part[at];
    if (quoted_ && c == '"' && at + 1 < part.size() && part[at + 1] == '"') {
      cells_.back() += part[++at];
    } else if (c == '"' && (quoted_ || begins_)) {
      if (begins_) cells_.back().clear();  // spaces before the quote
      quoted_ = !quoted_;
      begins_ = false;
    } else if (c == separator_ && !quoted_) {
      cells_.emplace_back();
      begins_ = true;
    } else {
      cells_.back() += c;
      begins_ = begins_ && c == ' ' && !quoted_;
    }
  }
  return !quoted_;
}

bool SplitTabs(const std::string& line, std::vector<std::string>& cells) {
  cells.clear();
  bool open = false;
  for (size_t at = 0; at <= line.size();) {
    const size_t end = std::min(line.find('\t', at), line.size());
    const std::string cell = line.substr(at, end - at);
    cells.push_back(Unquoted(cell));
    open = open || (cell.starts_with('"') && cells.back() == cell);
    at = end + 1;
  }
  return open;
}

WholeCells ReadWholeCells(std::string_view text, size_t columns, std::vector<std::string>& cells) {
  cells.clear();
  for (size_t at = 0; cells.size() < columns;) {
    std::string cell;
    if (at < text.size() && text[at] == '"') {
      if (const WholeCells read = ReadQuoted(text, at, cell); read != WholeCells::kRow) return read;
      if (at < text.size() && text[at] != '\t') return WholeCells::kNone;
    } else {
      while (at < text.size() && text[at] != '\t' && text[at] != '\n') cell += text[at++];
      if (at < text.size() && text[at] == '\n') return WholeCells::kNone;  // the row ended before
    }
    cells.push_back(std::move(cell));
    if (at >= text.size()) return cells.size() == columns ? WholeCells::kRow : WholeCells::kNone;
    ++at;
  }
  return WholeCells::kNone;  // there are more cells than columns
}

size_t BraceScanner::Feed(std::string_view part) {
  for (size_t at = 0; at < part.size(); ++at) {
    const char c = part[at];
    if (in_string_) {
      in_string_ = escaped_ || c != '"';
      escaped_ = !escaped_ && c == '\\';
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if ((c == '}' || c == ']') && --depth_ <= 0) {
      return at + 1;
    }
  }
  return std::string_view::npos;
}

}  // namespace engram::client
