#include "core/corpus/delimited.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/corpus/lines.h"

namespace engram::corpus {
namespace {

// A cell takes more memory than its separator.
constexpr size_t kMaxCells = 10'000;

bool AtLineEnd(std::string_view text, size_t at) { return at >= text.size() || text[at] == '\n' || text[at] == '\r'; }

// What a quoted cell may hold beside other characters.
enum class Holds { kAll, kNoLineEnd, kNoLineEndWithTab };

// One cell that begins with a quote at text[at]; leaves `at` behind its closing quote. False if it is never closed, or
// holds what it may not.
bool ReadQuoted(std::string_view text, size_t& at, std::string& cell, Holds holds = Holds::kAll) {
  bool tab = false, line_end = false;
  for (++at; at < text.size(); ++at) {
    const char c = text[at];
    tab = tab || c == '\t';
    line_end = line_end || c == '\n' || c == '\r';
    if (line_end && (holds == Holds::kNoLineEnd || (holds == Holds::kNoLineEndWithTab && tab))) return false;
    if (c != '"') {
      cell += c;
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

int64_t CountLineEnds(std::string_view quoted) {
  int64_t lines = 0;
  ForEachLine(quoted, [&](int64_t, std::string_view) { ++lines; });
  return lines - 1;  // it ends with its quote
}

// The cell without its quotes, if it is quoted whole.
bool Unquote(std::string_view cell, std::string& out) {
  if (cell.size() < 2 || cell.front() != '"') return false;
  size_t at = 0;
  out.clear();
  return ReadQuoted(cell, at, out) && at == cell.size();
}

}  // namespace

absl::StatusOr<bool> DelimitedReader::Next(DelimitedRow& row) {
  while (at_ < text_.size()) {
    row.line = line_;
    row.cells.clear();
    if (separator_ == '\t') {
      ReadTabRow(row);
      if (row.cells.size() > kMaxCells) {
        return InvalidField(absl::StrCat(AbslView(field_), " line ", row.line),
                            absl::StrCat("has more than ", kMaxCells, " cells"));
      }
    } else {
      ENGRAM_RETURN_IF_ERROR(ReadQuotedRow(row));
    }
    if (row.cells.size() == 1 && row.cells[0].empty()) continue;
    if (columns_ == 0) columns_ = row.cells.size();
    return true;
  }
  return false;
}

// Whether spaces at `at` lead a quoted cell that ends, but for spaces, in its line; `quote` is where its quote stands.
bool DelimitedReader::SpacedQuote(size_t at, size_t& quote) const {
  quote = text_.find_first_not_of(' ', at);
  if (quote == std::string_view::npos || quote == at || text_[quote] != '"') return false;
  std::string cell;
  size_t behind = quote;
  if (!ReadQuoted(text_, behind, cell, Holds::kNoLineEnd)) return false;
  behind = text_.find_first_not_of(' ', behind);
  return AtLineEnd(text_, behind) || text_[behind] == separator_;
}

absl::Status DelimitedReader::ReadQuotedRow(DelimitedRow& row) {
  const auto where = [&] { return absl::StrCat(AbslView(field_), " line ", line_); };
  while (true) {
    std::string cell;
    size_t quote = at_;
    const bool spaced = SpacedQuote(at_, quote);
    if (spaced) spaced_.Add(line_);
    if (spaced || (at_ < text_.size() && text_[at_] == '"')) {
      const size_t begin = at_ = quote;
      if (!ReadQuoted(text_, at_, cell)) return InvalidField(where(), "has a quote that is never closed");
      const int64_t lines = CountLineEnds(text_.substr(begin, at_ - begin));
      if (lines > 0) spanning_.Add(line_);
      line_ += lines;
      const size_t behind = std::min(text_.find_first_not_of(' ', at_), text_.size());
      if (AtLineEnd(text_, behind) || text_[behind] == separator_) at_ = behind;
      if (!AtLineEnd(text_, at_) && text_[at_] != separator_) {
        return InvalidField(where(), "has text behind a closing quote; double the quotes inside of a quoted cell");
      }
    } else {
      while (!AtLineEnd(text_, at_) && text_[at_] != separator_) cell += text_[at_++];
    }
    row.cells.push_back(std::move(cell));
    if (row.cells.size() > kMaxCells) return InvalidField(where(), absl::StrCat("has more than ", kMaxCells, " cells"));
    if (AtLineEnd(text_, at_)) break;
    ++at_;  // the separator
  }
  EndRow();
  return absl::OkStatus();
}

void DelimitedReader::EndRow() {
  if (at_ < text_.size()) {
    const LineEnd end = FindLineEnd(text_, at_);
    if (text_[end.next - 1] == '\r') carriage_returns_.Add(line_);
    at_ = end.next;
  }
  ++line_;
}

// The cells of a row with those that are quoted whole read as such. False if its quotes do not allow that; else `at` is
// at the row's end and `line` has counted the line ends inside.
bool DelimitedReader::ReadWholeCells(size_t& at, int64_t& line, std::vector<std::string>& cells) const {
  while (true) {
    std::string cell;
    if (at < text_.size() && text_[at] == '"') {
      const size_t begin = at;
      if (!ReadQuoted(text_, at, cell, Holds::kNoLineEndWithTab)) return false;
      if (!AtLineEnd(text_, at) && text_[at] != '\t') return false;
      line += CountLineEnds(text_.substr(begin, at - begin));
    } else {
      while (!AtLineEnd(text_, at) && text_[at] != '\t') cell += text_[at++];
    }
    cells.push_back(std::move(cell));
    if (cells.size() > columns_) return false;
    if (AtLineEnd(text_, at)) return true;
    ++at;
  }
}

void DelimitedReader::ReadTabRow(DelimitedRow& row) {
  constexpr int kMaxFailed = 20;
  const size_t end = FindLineEnd(text_, at_).end;
  bool open = false;
  for (size_t at = at_; at <= end && row.cells.size() <= kMaxCells;) {
    const size_t tab = std::min(text_.substr(0, end).find('\t', at), end);
    const std::string_view cell = text_.substr(at, tab - at);
    std::string unquoted;
    if (Unquote(cell, unquoted)) {
      row.cells.push_back(std::move(unquoted));
    } else {
      open = open || cell.starts_with('"');
      row.cells.emplace_back(cell);
    }
    at = tab + 1;
  }
  // With one column every line is a row.
  if (open && columns_ > 1 && failed_ < kMaxFailed) {
    size_t at = at_;
    int64_t line = line_;
    std::vector<std::string> cells;
    const bool whole = ReadWholeCells(at, line, cells) && cells.size() == columns_;
    const bool spans = line > line_;
    if (whole && (spans || row.cells.size() != columns_)) {
      if (spans) spanning_.Add(row.line);
      row.cells = std::move(cells);
      at_ = at;
      line_ = line;
      EndRow();
      return;
    }
    failed_ += row.cells.size() == columns_ ? 0 : 1;
  }
  if (open) open_.Add(row.line);
  at_ = end;
  EndRow();
}

void DelimitedReader::AddNotes(std::vector<Note>& notes) const {
  spanning_.AddTo(notes, "CELLS_SPAN_LINES", "cell(s) span several lines",
                  "; if a quote there is a character of the text, double it and quote the cell");
  spaced_.AddTo(notes, "SPACES_BEFORE_QUOTES", "quoted cell(s) have spaces before their quote", "; they were left out");
  open_.AddTo(notes, "QUOTES_AS_TEXT", "row(s) have a cell that begins with a quote and is not quoted whole",
              "; the quote was read as a character of the text");
  carriage_returns_.AddTo(notes, "CARRIAGE_RETURNS", "line(s) end with a carriage return alone");
}

}  // namespace engram::corpus
