#pragma once

// How lines become cells, and how JSON values are found in a stream of lines. Pure; see record_file.h for the rules.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace engram::client {

// Splits a row that comes in one or several lines, with quoted cells as in RFC 4180.
class CsvSplitter {
 public:
  CsvSplitter(char separator, std::vector<std::string>& cells) : separator_(separator), cells_(cells) {
    cells_.assign(1, "");
  }
  // False while a quoted cell is open behind `part`.
  bool Feed(std::string_view part);

 private:
  const char separator_;
  std::vector<std::string>& cells_;
  bool quoted_ = false, begins_ = true;  // only spaces stand in the cell so far
};

// The cells of a line with tabs, without the quotes of those that are quoted whole (from the first to the last character,
// quotes between them doubled). True if one begins with a quote and is not: the row may go on behind a tab or a line end.
bool SplitTabs(const std::string& line, std::vector<std::string>& cells);

// The same row with quotes that take tabs, or line ends, but not both, into their cells.
enum class WholeCells {
  kRow,   // it has `columns` cells
  kOpen,  // a quote is not closed yet: another line may follow
  kNone,  // its quotes do not make such a row
};
WholeCells ReadWholeCells(std::string_view text, size_t columns, std::vector<std::string>& cells);

// Where an object of JSON that comes in parts ends.
class BraceScanner {
 public:
  // How many characters of `part` belong to the object, its last bracket included; npos: all, and it goes on.
  size_t Feed(std::string_view part);

 private:
  int depth_ = 0;
  bool in_string_ = false, escaped_ = false;
};

}  // namespace engram::client
