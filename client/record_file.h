#pragma once

// Tables that are read and written record by record: a file of texts in, the same file with results out, whatever its
// size. Not thread-safe.

#include <deque>
#include <istream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/gzip_input.h"
#include "nlohmann/json_fwd.hpp"

namespace engram::client {

enum class RecordFormat { kCsv, kTsv, kJsonLines, kLines };
// By the extension (.csv; .tsv or .tab; .jsonl, .ndjson or .json), also with .gz behind it; everything else, and "-", is
// lines.
RecordFormat FormatOfFile(const std::string& path);

struct Record {
  // Of the reader's columns, and what a row has beyond them; of JSON Lines the line itself.
  std::vector<std::string> cells;
  std::string text;     // empty for an empty line
  std::string pair;     // the second text, where a column of them was named
  std::string problem;  // why there is no text; empty if there is
};

// Tables as in RFC 4180, with a header, separated by comma, semicolon, tab or "|": by what the name says, unless another
// one alone gives the column of the texts, or by what a first line "sep=;" says. Spaces before a quote are left out. With
// tabs a quote is a character, but for cells that are quoted whole; these may hold tabs, or line ends where their row would
// lack columns otherwise. JSON: an object per line, objects over several lines, or one list of objects. gzip is unpacked,
// UTF-16 and UTF-32 are read. Lines end with LF, CR LF or CR; a byte-order mark is accepted. A quote or a bracket that is
// never closed is its own line's problem: those behind it are records. Memory: one record, and at most 16 MiB behind an
// open quote.
class RecordReader {
 public:
  // "-": standard input. `text_column`: of a table or the key of JSON; empty: "text", or the only column. `pair_column`:
  // the same of a second text; empty: there is none. `error` says why there is no reader: no such column or two of them,
  // or a file that is no text.
  static std::optional<RecordReader> Open(const std::string& path, const std::string& text_column, std::string& error,
                                          const std::string& pair_column = "");

  // False at the end of the file.
  bool Next(Record& record);
  // The header's names; "text" for lines.
  const std::vector<std::string>& columns() const { return columns_; }
  RecordFormat format() const { return format_; }
  // Whether the end that Next reported was the file's, and not an error.
  bool whole() const { return source_->whole(); }
  // "UTF-16 (little-endian)" and the like; nullptr for UTF-8.
  const char* encoding() const { return source_->encoding(); }

 private:
  RecordReader() = default;
  bool NextLine(std::string& line);
  bool NextRow(std::vector<std::string>& cells, std::string& problem);
  bool NextTabRow(const std::string& line, std::vector<std::string>& cells);
  bool NextQuotedRow(const std::string& line, std::vector<std::string>& cells, std::string& problem);
  bool NextJson(std::string& object);
  bool LookAtFirstLine(std::string& error);
  void FindTexts(Record& record) const;
  std::string TextAt(const nlohmann::json& json, const std::string& key, std::string& text) const;
  bool FindColumns(std::string& error);
  std::optional<size_t> FindColumn(const std::string& wanted, std::string& error) const;
  void ChooseSeparator(const std::string& wanted);

  std::unique_ptr<GzipInput> source_;
  std::unique_ptr<std::istream> stream_;
  RecordFormat format_ = RecordFormat::kLines;
  char separator_ = ',';
  std::vector<std::string> columns_;
  size_t text_ = 0;
  std::optional<size_t> pair_;
  std::string key_, pair_key_;
  enum class Layout {
    kLines,
    kObjects,
    kList
  };  // how JSON stands there: by lines, one object behind the other, a list
  Layout layout_ = Layout::kLines;
  bool in_list_ = false;
  int failed_ = 0;                   // records that were looked for over several lines and are none
  std::deque<std::string> waiting_;  // lines that come before the stream's next one
};

// One line of the output with its line end. Not for JSON Lines.
std::string RenderRow(RecordFormat format, const std::vector<std::string>& cells);
// A record as one line of JSON with `added` behind its own members: of JSON Lines the object as it stands, else an
// object of its columns. `added`: a JSON object; a name that the record has gets "predicted_" before it.
std::string RenderJsonLine(const RecordReader& reader, const Record& record, const nlohmann::ordered_json& added);

}  // namespace engram::client
