#pragma once

// Tables that are read and written record by record: a file of texts in, the same file with results out, whatever its
// size. Not thread-safe.

#include <fstream>
#include <istream>
#include <optional>
#include <string>
#include <vector>

namespace engram::client {

enum class RecordFormat { kCsv, kTsv, kJsonLines, kLines };
// By the extension (.csv, .tsv, .jsonl or .ndjson); everything else, and "-", is lines.
RecordFormat FormatOfFile(const std::string& path);

struct Record {
  std::vector<std::string> cells;  // of the reader's columns; of JSON Lines the line itself
  std::string text;
  std::string problem;  // why there is no text; empty if there is
};

// Tables as in RFC 4180, with a header; of .tsv each line is a row and a quote is a character, but for cells that are
// quoted whole. CR LF and a byte-order mark are accepted. Memory: one record.
class RecordReader {
 public:
  // "-": standard input. `text_column`: of a table or the key of JSON Lines; empty: "text", or the only column. `error`
  // says why there is no reader.
  static std::optional<RecordReader> Open(const std::string& path, const std::string& text_column, std::string& error);

  // False at the end of the file.
  bool Next(Record& record);
  // The header's names; "text" for lines.
  const std::vector<std::string>& columns() const { return columns_; }
  RecordFormat format() const { return format_; }
  // Whether the end that Next reported was the file's, and not an error.
  bool whole() const { return !stream().bad(); }

 private:
  RecordReader() = default;
  std::istream& stream();
  const std::istream& stream() const;
  bool NextLine(std::string& line);
  bool NextRow(std::vector<std::string>& cells);
  bool FindTextColumn(std::string& error);

  std::ifstream file_;
  bool standard_input_ = false;
  RecordFormat format_ = RecordFormat::kLines;
  char separator_ = ',';
  std::vector<std::string> columns_;
  size_t text_ = 0;
  std::string key_;
};

// One line of the output with its line end. Not for JSON Lines.
std::string RenderRow(RecordFormat format, const std::vector<std::string>& cells);
// A record as one line of JSON with `added` behind its own members: of JSON Lines the object as it stands, else an
// object of its columns. `added`: a JSON object.
std::string RenderJsonLine(const RecordReader& reader, const Record& record, const std::string& added);

}  // namespace engram::client
