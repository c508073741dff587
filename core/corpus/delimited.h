#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/corpus/notes.h"

namespace engram::corpus {

struct DelimitedRow {
  int64_t line = 0;  // where it begins, from 1
  std::vector<std::string> cells;
};

// Rows of a table, one after the other. Empty lines are skipped. `text` must outlive the reader.
//
// Any separator but a tab: RFC 4180. A cell may be quoted, then it may hold separators, line ends and doubled quotes;
// spaces around a quoted cell that ends in its line belong to no cell.
// Tab: a quote is an ordinary character, but for a cell that is quoted whole: from its first to its last character,
// with every quote between them doubled. Such a cell may hold tabs or line ends where its row would not have the
// header's number of cells otherwise, but not both, so that no quote takes another row into its cell.
class DelimitedReader {
 public:
  // `field`: what errors are said about; `line`: the number of the text's first line.
  DelimitedReader(std::string_view text, char separator, std::string_view field, int64_t line = 1)
      : text_(text), separator_(separator), field_(field), line_(line) {}

  // Fills the next row; false at the end. INVALID_ARGUMENT (with the line) for a quote that is never closed or that has
  // text behind it, and for more than 10,000 cells. The first row is the header: its number of cells is what others are measured by.
  absl::StatusOr<bool> Next(DelimitedRow& row);

  // What was odd so far.
  void AddNotes(std::vector<Note>& notes) const;

 private:
  absl::Status ReadQuotedRow(DelimitedRow& row);
  void ReadTabRow(DelimitedRow& row);
  bool ReadWholeCells(size_t& at, int64_t& line, std::vector<std::string>& cells) const;
  bool SpacedQuote(size_t at, size_t& quote) const;
  void EndRow();

  const std::string_view text_;
  const char separator_;
  const std::string_view field_;
  int64_t line_;
  size_t at_ = 0;
  size_t columns_ = 0;  // of the header; 0 before it
  int failed_ = 0;      // rows that were tried with quotes and read without
  LineList spanning_, spaced_, open_, carriage_returns_;
};

}  // namespace engram::corpus
