#include "client/record_file.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

#include "client/output.h"
#include "nlohmann/json.hpp"

namespace engram::client {
namespace {

constexpr size_t kMaxRecordBytes = size_t{16} << 20;

// Splits a row that comes in one or several lines.
class CsvSplitter {
 public:
  CsvSplitter(char separator, std::vector<std::string>& cells) : separator_(separator), cells_(cells) {
    cells_.assign(1, "");
  }
  // False while a quoted cell is open behind `part`.
  bool Feed(std::string_view part) {
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

 private:
  const char separator_;
  std::vector<std::string>& cells_;
  bool quoted_ = false, begins_ = true;  // only spaces stand in the cell so far
};

// The cell without its quotes, if it is quoted whole: from its first to its last character, quotes between doubled.
std::string Unquoted(const std::string& cell) {
  if (cell.size() < 2 || cell.front() != '"' || cell.back() != '"') return cell;
  std::string inner;
  for (size_t at = 1; at + 1 < cell.size(); ++at) {
    if (cell[at] == '"' && (at + 2 >= cell.size() || cell[++at] != '"')) return cell;
    inner += cell[at];
  }
  return inner;
}

void SplitTsv(const std::string& row, std::vector<std::string>& cells) {
  cells.clear();
  for (size_t at = 0; at <= row.size();) {
    const size_t end = std::min(row.find('\t', at), row.size());
    cells.push_back(Unquoted(row.substr(at, end - at)));
    at = end + 1;
  }
}

// What begins a file that is none of lines of UTF-8; empty if nothing is known against it.
std::string NoText(std::string_view first_line) {
  if (first_line.starts_with("\xFF\xFE") || first_line.starts_with("\xFE\xFF"))
    return "is UTF-16; convert it to UTF-8 first (iconv -f UTF-16 -t UTF-8)";
  if (first_line.starts_with("version https://git-lfs.github.com/spec/"))
    return "is a Git LFS pointer, not the file itself; fetch the file with \"git lfs pull\"";
  if (first_line.find('\0') != std::string_view::npos) return "is no text: it holds zero bytes";
  return "";
}

std::string Names(const std::vector<std::string>& columns) {
  std::string names;
  for (const std::string& column : columns) names += (names.empty() ? "\"" : ", \"") + column + "\"";
  return names;
}

}  // namespace

RecordFormat FormatOfFile(const std::string& path) {
  const std::string name = path.ends_with(".gz") ? path.substr(0, path.size() - 3) : path;
  const size_t dot = name.rfind('.');
  std::string extension = dot == std::string::npos ? "" : name.substr(dot);
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  if (extension == ".csv") return RecordFormat::kCsv;
  if (extension == ".tsv" || extension == ".tab") return RecordFormat::kTsv;
  if (extension == ".jsonl" || extension == ".ndjson" || extension == ".json") return RecordFormat::kJsonLines;
  return RecordFormat::kLines;
}

std::optional<RecordReader> RecordReader::Open(const std::string& path, const std::string& text_column,
                                               std::string& error) {
  RecordReader reader;
  reader.source_ = GzipInput::Open(path);
  if (!reader.source_) {
    error = "the file cannot be read";
    return std::nullopt;
  }
  reader.stream_ = std::make_unique<std::istream>(reader.source_.get());
  reader.format_ = FormatOfFile(path);
  reader.key_ = text_column;
  if (!reader.LookAtFirstLine(error)) return std::nullopt;
  if (reader.format_ == RecordFormat::kLines) {
    reader.columns_ = {"text"};
  } else if (reader.format_ == RecordFormat::kJsonLines) {
    if (reader.key_.empty()) reader.key_ = "text";
  } else if (!reader.FindTextColumn(error)) {
    return std::nullopt;
  }
  return reader;
}

bool RecordReader::LookAtFirstLine(std::string& error) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  std::string line;
  if (!NextLine(line)) {
    if (whole()) return true;
    error = "the file cannot be read: it is damaged, or its end is missing";
    return false;
  }
  error = NoText(line);
  if (line.starts_with(kMark)) line.erase(0, kMark.size());
  const size_t begin = std::min(line.find_first_not_of(" \t"), line.size());
  if (error.empty() && format_ == RecordFormat::kJsonLines && line.substr(begin, 1) == "[")
    error = "is one list of JSON; write one object per line first (jq -c '.[]')";
  waiting_.push_front(std::move(line));
  if (error.empty()) return true;
  error = "the file " + error;
  return false;
}

// Leaves the separator by which the header, the next line, has the column; else the one that the name says, or that a
// header of one column is made of.
void RecordReader::ChooseSeparator(const std::string& wanted) {
  const char promised = format_ == RecordFormat::kTsv ? '\t' : ',';
  separator_ = promised;
  std::string header;
  if (!NextLine(header)) return;
  constexpr std::string_view kLead = "sep=";  // Excel's
  if (header.size() == kLead.size() + 1 && header.starts_with(kLead)) {
    separator_ = header.back();
    return;
  }
  const auto cells_by = [&](char separator) {
    std::vector<std::string> cells;
    if (separator == '\t') {
      SplitTsv(header, cells);
    } else {
      CsvSplitter(separator, cells).Feed(header);
    }
    return cells;
  };
  const auto has = [&](char separator) {
    const std::vector<std::string> cells = cells_by(separator);
    return cells.size() > 1 && std::find(cells.begin(), cells.end(), wanted) != cells.end();
  };
  constexpr std::string_view kSeparators = ",;\t|";
  if (!has(promised)) {
    const auto found = std::find_if(kSeparators.begin(), kSeparators.end(), has);
    // What a header of one column is made of is shown in the error, so that its columns can be named.
    const auto made_of = std::find_if(kSeparators.begin(), kSeparators.end(), [&](char c) {
      return c != promised && header != wanted && cells_by(promised).size() == 1 && cells_by(c).size() > 1;
    });
    if (found != kSeparators.end()) {
      separator_ = *found;
    } else if (made_of != kSeparators.end()) {
      separator_ = *made_of;
    }
  }
  waiting_.push_front(std::move(header));
}

bool RecordReader::FindTextColumn(std::string& error) {
  const std::string wanted = key_.empty() ? "text" : key_;
  ChooseSeparator(wanted);
  std::string problem;
  if (!NextRow(columns_, problem)) {
    error = "the file is empty; its first line must name the columns";
    return false;
  }
  const auto count = std::count(columns_.begin(), columns_.end(), wanted);
  if (count > 1) {
    error = "two columns are named \"" + wanted + "\"; rename one";
    return false;
  }
  if (count == 0 && !(key_.empty() && columns_.size() == 1)) {
    error =
        "there is no column \"" + wanted + "\"; the columns are " + Names(columns_) + ": name one with --text-column";
    return false;
  }
  text_ = count == 0 ? 0 : static_cast<size_t>(std::find(columns_.begin(), columns_.end(), wanted) - columns_.begin());
  return true;
}

bool RecordReader::NextLine(std::string& line) {
  if (!waiting_.empty()) {
    line = std::move(waiting_.front());
    waiting_.pop_front();
    return true;
  }
  line.clear();
  std::istream& in = *stream_;
  int c = in.get();
  if (c == std::istream::traits_type::eof()) return false;
  for (; c != std::istream::traits_type::eof(); c = in.get()) {
    if (c == '\n') return true;
    if (c != '\r') {
      line += static_cast<char>(c);
      continue;
    }
    // CRs before an LF are part of the line's end; else each one ends a line.
    size_t more = 0;
    for (; in.peek() == '\r'; ++more) in.get();
    if (in.peek() == '\n') {
      in.get();
    } else {
      waiting_.assign(more, "");
    }
    return true;
  }
  return true;
}

bool RecordReader::NextRow(std::vector<std::string>& cells, std::string& problem) {
  std::string line;
  if (!NextLine(line)) return false;
  if (separator_ == '\t') {
    SplitTsv(line, cells);
    return true;
  }
  const std::string first = line;
  CsvSplitter splitter(separator_, cells);
  std::deque<std::string> more;
  size_t bytes = line.size();
  bool closed = splitter.Feed(line);
  while (!closed && bytes < kMaxRecordBytes && NextLine(line)) {
    splitter.Feed("\n");
    closed = splitter.Feed(line);
    bytes += line.size() + 1;
    more.push_back(std::move(line));
  }
  if (closed) return true;
  // The lines behind it are rows of their own.
  waiting_.insert(waiting_.begin(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  problem = "has a quote that is never closed";
  cells.assign(1, first);
  return true;
}

void RecordReader::FindText(Record& record) const {
  const std::string& line = record.cells[0];
  // An empty line is an empty text.
  if (format_ == RecordFormat::kLines || line.find_first_not_of(" \t") == std::string::npos) {
    record.text = line;
    return;
  }
  const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (json.is_object() && json.contains(key_) && json[key_].is_string()) {
    record.text = json[key_].get<std::string>();
  } else {
    record.problem = json.is_object() ? "has no text under \"" + key_ + "\"" : "is no JSON object";
  }
}

bool RecordReader::Next(Record& record) {
  record = Record();
  if (format_ == RecordFormat::kCsv || format_ == RecordFormat::kTsv) {
    if (!NextRow(record.cells, record.problem)) return false;
    const bool empty = record.cells.size() == 1 && record.cells[0].empty();
    if (record.problem.empty() && !empty && record.cells.size() != columns_.size()) {
      record.problem = "has " + std::to_string(record.cells.size()) + " cells where the header has " +
                       std::to_string(columns_.size());
    }
    record.cells.resize(std::max(columns_.size(), record.cells.size()));
    record.text = record.cells[text_];
  } else {
    record.cells.resize(1);
    if (!NextLine(record.cells[0])) return false;
    FindText(record);
  }
  if (record.problem.empty() && !IsUtf8(record.text)) record.problem = "is not UTF-8";
  if (!record.problem.empty()) record.text.clear();
  return true;
}

std::string RenderRow(RecordFormat format, const std::vector<std::string>& cells) {
  const char separator = format == RecordFormat::kTsv ? '\t' : ',';
  std::string row;
  for (size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) row += separator;
    const std::string& cell = cells[i];
    const bool begins_quoted = !cell.empty() && cell.front() == '"';
    const bool quote = cell.find_first_of("\r\n") != std::string::npos || cell.find(separator) != std::string::npos ||
                       (format == RecordFormat::kTsv ? begins_quoted : cell.find('"') != std::string::npos);
    if (!quote) {
      row += cell;
      continue;
    }
    row += '"';
    for (const char c : cell) row += c == '"' ? "\"\"" : std::string(1, c);
    row += '"';
  }
  return row + "\n";
}

std::string RenderJsonLine(const RecordReader& reader, const Record& record, const nlohmann::ordered_json& added) {
  const auto dump = [](const nlohmann::ordered_json& json) {
    return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  };
  std::string object;
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (reader.format() == RecordFormat::kJsonLines) {
    object = record.cells[0];
    json = nlohmann::ordered_json::parse(object, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) {
      json = {{"line", object}};
      object = dump(json);
    }
  } else {
    for (size_t i = 0; i < record.cells.size(); ++i) {
      std::string name = i < reader.columns().size() ? reader.columns()[i] : "cell " + std::to_string(i + 1);
      while (json.contains(name)) name += " (again)";
      json[name] = record.cells[i];
    }
    object = dump(json);
  }
  nlohmann::ordered_json behind = nlohmann::ordered_json::object();
  for (const auto& [key, value] : added.items()) {
    std::string name = key;
    while (json.contains(name)) name = "predicted_" + name;
    behind[name] = value;
  }
  return object.substr(0, object.rfind('}')) + (json.empty() ? "" : ",") + dump(behind).substr(1) + "\n";
}

}  // namespace engram::client
