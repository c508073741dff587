#include "client/record_file.h"

#include <algorithm>
#include <iostream>

#include "client/output.h"
#include "nlohmann/json.hpp"

namespace engram::client {
namespace {

constexpr size_t kMaxRecordBytes = size_t{16} << 20;

// Splits a row. False if a quoted cell is still open at its end.
bool SplitCsv(const std::string& row, char separator, std::vector<std::string>& cells) {
  cells.assign(1, "");
  bool quoted = false;
  for (size_t at = 0; at < row.size(); ++at) {
    const char c = row[at];
    if (quoted) {
      if (c != '"') {
        cells.back() += c;
      } else if (at + 1 < row.size() && row[at + 1] == '"') {
        cells.back() += row[++at];
      } else {
        quoted = false;
      }
    } else if (c == '"' && cells.back().empty() && (at == 0 || row[at - 1] == separator)) {
      quoted = true;
    } else if (c == separator) {
      cells.emplace_back();
    } else {
      cells.back() += c;
    }
  }
  return !quoted;
}

void SplitTsv(const std::string& row, std::vector<std::string>& cells) {
  cells.clear();
  for (size_t at = 0; at <= row.size();) {
    const size_t end = std::min(row.find('\t', at), row.size());
    const std::string cell = row.substr(at, end - at);
    std::vector<std::string> unquoted;
    // Quoted whole: one cell of a CSV that has no separator, and no quote of its own but doubled ones.
    const bool whole = cell.size() > 1 && cell.front() == '"' && cell.back() == '"' && SplitCsv(cell, '\t', unquoted) &&
                       RenderRow(RecordFormat::kTsv, unquoted) == cell + "\n";
    cells.push_back(whole ? unquoted[0] : cell);
    at = end + 1;
  }
}

std::string Names(const std::vector<std::string>& columns) {
  std::string names;
  for (const std::string& column : columns) names += (names.empty() ? "\"" : ", \"") + column + "\"";
  return names;
}

}  // namespace

RecordFormat FormatOfFile(const std::string& path) {
  const size_t dot = path.rfind('.');
  std::string extension = dot == std::string::npos ? "" : path.substr(dot);
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  if (extension == ".csv") return RecordFormat::kCsv;
  if (extension == ".tsv") return RecordFormat::kTsv;
  if (extension == ".jsonl" || extension == ".ndjson") return RecordFormat::kJsonLines;
  return RecordFormat::kLines;
}

std::istream& RecordReader::stream() { return standard_input_ ? std::cin : file_; }
const std::istream& RecordReader::stream() const {
  if (standard_input_) return std::cin;
  return file_;
}

std::optional<RecordReader> RecordReader::Open(const std::string& path, const std::string& text_column,
                                               std::string& error) {
  RecordReader reader;
  reader.standard_input_ = path == "-";
  if (!reader.standard_input_) reader.file_.open(path, std::ios::binary);
  if (!reader.stream().good()) {
    error = "the file cannot be read";
    return std::nullopt;
  }
  reader.format_ = FormatOfFile(path);
  reader.key_ = text_column;
  if (reader.format_ == RecordFormat::kLines) {
    reader.columns_ = {"text"};
  } else if (reader.format_ == RecordFormat::kJsonLines) {
    if (reader.key_.empty()) reader.key_ = "text";
  } else if (!reader.FindTextColumn(error)) {
    return std::nullopt;
  }
  return reader;
}

bool RecordReader::FindTextColumn(std::string& error) {
  separator_ = format_ == RecordFormat::kTsv ? '\t' : ',';
  if (!NextRow(columns_)) {
    error = "the file is empty; its first line must name the columns";
    return false;
  }
  constexpr const char* kMark = "\xEF\xBB\xBF";
  if (columns_[0].starts_with(kMark)) columns_[0].erase(0, 3);
  // Spreadsheets in many countries separate by semicolons.
  if (columns_.size() == 1 && columns_[0].find(';') != std::string::npos && format_ == RecordFormat::kCsv) {
    separator_ = ';';
    SplitCsv(std::string(columns_[0]), separator_, columns_);
  }
  const std::string wanted = key_.empty() ? "text" : key_;
  const auto found = std::find(columns_.begin(), columns_.end(), wanted);
  if (found == columns_.end() && !(key_.empty() && columns_.size() == 1)) {
    error =
        "there is no column \"" + wanted + "\"; the columns are " + Names(columns_) + ": name one with --text-column";
    return false;
  }
  text_ = found == columns_.end() ? 0 : static_cast<size_t>(found - columns_.begin());
  return true;
}

bool RecordReader::NextLine(std::string& line) {
  if (!std::getline(stream(), line)) return false;
  if (line.ends_with('\r')) line.pop_back();
  return true;
}

bool RecordReader::NextRow(std::vector<std::string>& cells) {
  std::string row, more;
  if (!NextLine(row)) return false;
  if (format_ == RecordFormat::kTsv) {
    SplitTsv(row, cells);
    return true;
  }
  while (!SplitCsv(row, separator_, cells) && row.size() < kMaxRecordBytes && NextLine(more)) row += "\n" + more;
  return true;
}

bool RecordReader::Next(Record& record) {
  record = Record();
  if (format_ == RecordFormat::kCsv || format_ == RecordFormat::kTsv) {
    if (!NextRow(record.cells)) return false;
    if (record.cells.size() != columns_.size()) {
      record.problem = "has " + std::to_string(record.cells.size()) + " cells where the header has " +
                       std::to_string(columns_.size());
      record.cells.resize(columns_.size());
    }
    record.text = record.cells[text_];
  } else {
    std::string line;
    if (!NextLine(line)) return false;
    record.cells = {line};
    record.text = line;
    if (format_ == RecordFormat::kJsonLines) {
      const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
      const bool text = json.is_object() && json.contains(key_) && json[key_].is_string();
      record.text = text ? json[key_].get<std::string>() : "";
      if (!text) record.problem = json.is_object() ? "has no text under \"" + key_ + "\"" : "is no JSON object";
    }
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

std::string RenderJsonLine(const RecordReader& reader, const Record& record, const std::string& added) {
  const auto dump = [](const nlohmann::ordered_json& json) {
    return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  };
  std::string object;
  if (reader.format() == RecordFormat::kJsonLines) {
    object = record.cells[0];
    const bool is_object = nlohmann::json::parse(object, nullptr, false).is_object();
    if (!is_object) object = dump({{"line", object}});
  } else {
    nlohmann::ordered_json json = nlohmann::ordered_json::object();
    for (size_t i = 0; i < reader.columns().size(); ++i) json[reader.columns()[i]] = record.cells[i];
    object = dump(json);
  }
  const size_t end = object.rfind('}');
  const bool empty = object.find_last_not_of(" \t", end - 1) == object.find('{');
  return object.substr(0, end) + (empty ? "" : ",") + added.substr(1, added.rfind('}') - 1) + "}\n";
}

}  // namespace engram::client
