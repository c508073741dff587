#include "client/record_file.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

#include "client/output.h"
#include "client/split_rows.h"
#include "nlohmann/json.hpp"

namespace engram::client {
namespace {

constexpr const char* kNotUtf8 =
    "is not UTF-8; if the file is Latin-1, convert it first (iconv -f WINDOWS-1252 -t UTF-8)";
constexpr size_t kMaxRecordBytes = size_t{16} << 20;
// Records that were looked for over many lines in vain: no more are, so that time stays linear.
constexpr int kMostFailed = 20;

// What begins a file that is no text; empty if nothing is known against it.
std::string NoText(std::string_view first_line) {
  const auto begins = [&](std::string_view with) {
    return std::equal(with.begin(), with.end(), first_line.begin(),
                      first_line.begin() + static_cast<std::ptrdiff_t>(std::min(with.size(), first_line.size())),
                      [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? b - 'A' + 'a' : b); });
  };
  if (first_line.starts_with("version https://git-lfs.github.com/spec/"))
    return "is a Git LFS pointer, not the file itself; fetch the file with \"git lfs pull\"";
  if (begins("<!doctype html") || begins("<html")) return "is a web page, not the file itself; download the file again";
  if (first_line.starts_with("PAR1")) return "is Parquet; write it as .csv or .jsonl first";
  if (first_line.starts_with("PK\x03\x04"))
    return "is a ZIP archive (.xlsx is one, too); write its table as .csv first";
  if (first_line.starts_with("%PDF-")) return "is a PDF; write its text into a file first";
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
                                               std::string& error, const std::string& pair_column) {
  RecordReader reader;
  reader.source_ = GzipInput::Open(path);
  if (!reader.source_) {
    error = "the file cannot be read";
    return std::nullopt;
  }
  reader.stream_ = std::make_unique<std::istream>(reader.source_.get());
  reader.format_ = FormatOfFile(path);
  reader.key_ = text_column;
  reader.pair_key_ = pair_column;
  if (!reader.LookAtFirstLine(error)) return std::nullopt;
  if (reader.format_ == RecordFormat::kLines) {
    reader.columns_ = {"text"};
  } else if (reader.format_ == RecordFormat::kJsonLines) {
    if (reader.key_.empty()) reader.key_ = "text";
  } else if (!reader.FindColumns(error)) {
    return std::nullopt;
  }
  return reader;
}

bool RecordReader::LookAtFirstLine(std::string& error) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF", kSpace = " \t";
  std::string line;
  if (!NextLine(line)) {
    if (whole()) return true;
    error = "the file cannot be read: it is damaged, or its end is missing";
    return false;
  }
  if (line.starts_with(kMark)) line.erase(0, kMark.size());
  error = NoText(line);
  const std::string_view lead = std::string_view(line).substr(std::min(line.find_first_not_of(kSpace), line.size()));
  if (lead.starts_with('[')) {
    const size_t behind = lead.find_first_not_of(kSpace, 1);
    if (behind == std::string_view::npos || lead[behind] == '{' || lead[behind] == ']') layout_ = Layout::kList;
  } else if (lead.starts_with('{') && BraceScanner().Feed(lead) == std::string_view::npos) {
    layout_ = Layout::kObjects;
  }
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
      SplitTabs(header, cells);
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

std::optional<size_t> RecordReader::FindColumn(const std::string& wanted, std::string& error) const {
  const auto count = std::count(columns_.begin(), columns_.end(), wanted);
  if (count == 1) return static_cast<size_t>(std::find(columns_.begin(), columns_.end(), wanted) - columns_.begin());
  error = count > 1 ? "two columns are named \"" + wanted + "\"; rename one"
                    : "there is no column \"" + wanted + "\"; the columns are " + Names(columns_) + ": name one with " +
                          (wanted == pair_key_ ? "--pair-column" : "--text-column");
  return std::nullopt;
}

bool RecordReader::FindColumns(std::string& error) {
  const std::string wanted = key_.empty() ? "text" : key_;
  ChooseSeparator(wanted);
  std::string problem;
  if (!NextRow(columns_, problem)) {
    error = "the file is empty; its first line must name the columns";
    return false;
  }
  if (!std::all_of(columns_.begin(), columns_.end(), IsUtf8)) {
    error = "the file's first line " + std::string(kNotUtf8);
    return false;
  }
  if (!pair_key_.empty()) {
    pair_ = FindColumn(pair_key_, error);
    if (!pair_) return false;
  }
  const bool only = key_.empty() && columns_.size() == 1;
  const std::optional<size_t> text = only ? 0 : FindColumn(wanted, error);
  if (!text) return false;
  text_ = *text;
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
  return separator_ == '\t' ? NextTabRow(line, cells) : NextQuotedRow(line, cells, problem);
}

// The header's line is a row; behind it a quote may take more lines where it makes a row of as many cells.
bool RecordReader::NextTabRow(const std::string& line, std::vector<std::string>& cells) {
  if (!SplitTabs(line, cells) || columns_.size() < 2) return true;
  std::string text = line, next;
  std::deque<std::string> more;
  std::vector<std::string> whole;
  WholeCells read = ReadWholeCells(text, columns_.size(), whole);
  while (read == WholeCells::kOpen && text.size() < kMaxRecordBytes && failed_ < kMostFailed && NextLine(next)) {
    text += "\n" + next;
    more.push_back(std::move(next));
    read = ReadWholeCells(text, columns_.size(), whole);
  }
  if (read == WholeCells::kRow && (!more.empty() || cells.size() != columns_.size())) {
    cells = std::move(whole);
    return true;
  }
  if (!more.empty()) ++failed_;
  waiting_.insert(waiting_.begin(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  return true;
}

bool RecordReader::NextQuotedRow(const std::string& line, std::vector<std::string>& cells, std::string& problem) {
  CsvSplitter splitter(separator_, cells);
  std::deque<std::string> more;
  size_t bytes = line.size();
  bool closed = splitter.Feed(line);
  for (std::string next; !closed && bytes < kMaxRecordBytes && NextLine(next);) {
    splitter.Feed("\n");
    closed = splitter.Feed(next);
    bytes += next.size() + 1;
    more.push_back(std::move(next));
  }
  if (closed) return true;
  // The lines behind it are rows of their own.
  waiting_.insert(waiting_.begin(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  problem = "has a quote that is never closed";
  cells.assign(1, line);
  return true;
}

// The next object in one line, or a line that is none; false at the end.
bool RecordReader::NextJson(std::string& object) {
  if (layout_ == Layout::kLines) return NextLine(object);
  std::string line;
  do {
    if (!NextLine(line)) return false;
    if (layout_ != Layout::kList) {
      line.erase(0, std::min(line.find_first_not_of(" \t"), line.size()));
      continue;
    }
    // What stands between the elements of a list; its first bracket is that of the file.
    if (!in_list_) {
      in_list_ = line.find('[') != std::string::npos;
      line.erase(0, std::min(line.find_first_not_of(" \t["), line.size()));
    }
    if (in_list_) line.erase(0, std::min(line.find_first_not_of(" \t,]"), line.size()));
  } while (line.empty());
  object = line;
  if (!line.starts_with('{')) return true;
  BraceScanner scanner;
  std::deque<std::string> more;
  size_t end = scanner.Feed(line), bytes = line.size();
  for (std::string next;
       end == std::string::npos && bytes < kMaxRecordBytes && failed_ < kMostFailed && NextLine(next);) {
    end = scanner.Feed(next);
    bytes += next.size() + 1;
    object += ' ';
    object.append(next, 0, end);
    more.push_back(std::move(next));
  }
  if (end == std::string::npos || (!more.empty() && !nlohmann::json::accept(object))) {
    ++failed_;
    waiting_.insert(waiting_.begin(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
    object = line;
    return true;
  }
  if (more.empty()) object.resize(end);
  std::string rest = (more.empty() ? line : more.back()).substr(end);
  if (rest.find_first_not_of(" \t,]") != std::string::npos) waiting_.push_front(std::move(rest));
  return true;
}

// The text under a key, or why there is none.
std::string RecordReader::TextAt(const nlohmann::json& json, const std::string& key, std::string& text) const {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_string()) return "has no text under \"" + key + "\"";
  text = found->get<std::string>();
  return "";
}

void RecordReader::FindTexts(Record& record) const {
  const std::string& line = record.cells[0];
  // An empty line is an empty text.
  if (format_ == RecordFormat::kLines || line.find_first_not_of(" \t") == std::string::npos) {
    record.text = line;
    return;
  }
  const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    record.problem = "is no JSON object";
    return;
  }
  record.problem = TextAt(json, key_, record.text);
  if (record.problem.empty() && !pair_key_.empty()) record.problem = TextAt(json, pair_key_, record.pair);
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
    if (pair_) record.pair = record.cells[*pair_];
  } else {
    record.cells.resize(1);
    if (!(format_ == RecordFormat::kLines ? NextLine(record.cells[0]) : NextJson(record.cells[0]))) return false;
    FindTexts(record);
  }
  if (record.problem.empty() && !(IsUtf8(record.text) && IsUtf8(record.pair))) record.problem = kNotUtf8;
  if (!record.problem.empty()) record.text.clear(), record.pair.clear();
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
