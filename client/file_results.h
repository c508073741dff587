#pragma once

// A file of texts through a method of InferenceService, record by record: one record in, one out, in order, as the answers
// come, so that memory does not grow with the file.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "client/record_file.h"
#include "client/text_calls.h"
#include "nlohmann/json.hpp"

namespace engram::client {

struct FileJob {
  std::string file;         // "-": standard input; its extension says the format (record_file.h)
  std::string text_column;  // empty: "text"
  std::string pair_column;  // of the second texts, where pairs are classified; empty: there are none
  std::string out;          // .csv, .tsv or .jsonl
};

// What one kind of results adds to a record.
template <typename Result>
class ResultColumns {
 public:
  virtual ~ResultColumns() = default;
  // Of tables, but for "error", which stands behind them.
  virtual std::vector<std::string> Names() const = 0;
  // As many as names; `result` has no error.
  virtual std::vector<std::string> Cells(const Result& result) const = 0;
  // Of a JSON object; `result` has no error.
  virtual nlohmann::ordered_json Members(const Result& result) const = 0;
};

// Writes the file again with the results beside it. Request and Response are those of Classify or TagEntities.
template <typename Request, typename Response>
class FileResults {
 public:
  using Result = std::decay_t<decltype(std::declval<Response>().results(0))>;
  using Caller = TextCaller<Request, Response>;

  // The reader of a job's file, or the exit status that there is none; errors are said.
  static std::optional<RecordReader> Open(const FileJob& job, int& status) {
    const RecordFormat format = FormatOfFile(job.out);
    std::error_code ignored;
    std::string error;
    std::optional<RecordReader> reader;
    if (format == RecordFormat::kLines) {
      error = "--out must end in .csv, .tsv or .jsonl";
    } else if (std::filesystem::equivalent(job.file, job.out, ignored)) {
      error = "--out is the file that is read; name another one";
    } else {
      reader = RecordReader::Open(job.file, job.text_column, error, job.pair_column);
    }
    if (reader && reader->format() == RecordFormat::kJsonLines && format != RecordFormat::kJsonLines)
      error = "a .jsonl file has no columns that a table could keep; let --out end in .jsonl";
    if (reader && reader->format() == RecordFormat::kLines && !(job.text_column.empty() && job.pair_column.empty()))
      error = "--text-column and --pair-column need a file whose name ends in .csv, .tsv or .jsonl";
    if (!error.empty()) {
      status = Session::Usage(error);
      return std::nullopt;
    }
    if (reader->encoding() != nullptr)
      std::fprintf(stderr, "note: the file is %s and is read as such\n", reader->encoding());
    return reader;
  }

  FileResults(Session& session, RecordReader& reader, const FileJob& job, Caller& caller,
              const ResultColumns<Result>& columns)
      : session_(session), reader_(reader), job_(job), caller_(caller), columns_(columns) {}

  // The exit status: kFailed if a record other than an empty one has no result.
  int Run() {
    out_.open(job_.out, std::ios::binary | std::ios::trunc);
    if (format_ != RecordFormat::kJsonLines) WriteHeader();
    // The first answer comes soon; later calls fill the server's batches.
    size_t part = 8;
    while (true) {
      const std::vector<Record> records = ReadSome(part);
      if (records.empty()) break;
      if (const std::optional<int> failed = AnswerSome(records)) return *failed;
      ShowProgress(/*last=*/false);
      part = kTextsPerCall;
    }
    out_.close();
    if (out_.fail()) return Broken(job_.out, "cannot be written");
    if (!reader_.whole()) return Broken(job_.file, "cannot be read to its end");
    ShowProgress(/*last=*/true);
    if (session_.json) {
      const nlohmann::ordered_json said = {{"out", job_.out}, {"records", records_}, {"without_result", without_}};
      std::printf("%s\n", said.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
    } else {
      std::printf("%lld record%s written to %s, %lld without a result\n", static_cast<long long>(records_),
                  records_ == 1 ? "" : "s", job_.out.c_str(), static_cast<long long>(without_));
    }
    return failed_ ? kFailed : kOk;
  }

 private:
  void WriteHeader() {
    std::vector<std::string> columns = reader_.columns();
    std::set<std::string> taken(columns.begin(), columns.end());
    const auto add = [&](std::string name) {
      while (!taken.insert(name).second) name = "predicted_" + name;
      columns.push_back(std::move(name));
    };
    for (std::string& name : columns_.Names()) add(std::move(name));
    add("error");
    out_ << RenderRow(format_, columns);
  }

  std::vector<Record> ReadSome(size_t most) {
    std::vector<Record> records;
    for (Record record; records.size() < most && reader_.Next(record);) records.push_back(std::move(record));
    return records;
  }

  std::optional<int> AnswerSome(const std::vector<Record>& records) {
    std::vector<std::string> texts, pairs;
    for (const Record& record : records) {
      texts.push_back(record.text);
      if (!job_.pair_column.empty()) pairs.push_back(record.pair);
    }
    Response response;
    if (const grpc::Status status = caller_.Call(texts, /*alone=*/false, response, pairs); !status.ok()) {
      std::fprintf(stderr, "%s holds the first %lld records\n", job_.out.c_str(), static_cast<long long>(records_));
      return session_.Fail(status);
    }
    for (size_t i = 0; i < records.size(); ++i) {
      Result& result = *response.mutable_results(static_cast<int>(i));
      if (!records[i].problem.empty()) {
        result.mutable_error()->set_reason("RECORD");
        result.mutable_error()->set_message("the record " + records[i].problem);
      }
      without_ += result.has_error() ? 1 : 0;
      out_ << (format_ == RecordFormat::kJsonLines ? JsonLine(records[i], result) : Row(records[i], result));
    }
    failed_ = failed_ || AnyError(response);
    records_ += static_cast<int64_t>(records.size());
    out_.flush();
    if (out_.good()) return std::nullopt;
    return Broken(job_.out, "cannot be written");
  }

  // What a row has beyond the header's columns stands behind all others.
  std::string Row(const Record& record, const Result& result) const {
    const auto beyond = record.cells.begin() + static_cast<std::ptrdiff_t>(reader_.columns().size());
    std::vector<std::string> cells(record.cells.begin(), beyond);
    std::vector<std::string> added =
        result.has_error() ? std::vector<std::string>(columns_.Names().size()) : columns_.Cells(result);
    std::move(added.begin(), added.end(), std::back_inserter(cells));
    cells.push_back(result.has_error() ? result.error().message() : "");
    cells.insert(cells.end(), beyond, record.cells.end());
    return RenderRow(format_, cells);
  }

  std::string JsonLine(const Record& record, const Result& result) const {
    const nlohmann::ordered_json added =
        result.has_error() ? nlohmann::ordered_json({{"error", result.error().message()}}) : columns_.Members(result);
    return RenderJsonLine(reader_, record, added);
  }

  void ShowProgress(bool last) const {
    if (isatty(STDERR_FILENO) == 0) return;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    std::fprintf(stderr, "\r%lld records, %.0f per second%s", static_cast<long long>(records_),
                 static_cast<double>(records_) / std::max(seconds, 1e-3), last ? "\n" : "");
  }

  static int Broken(const std::string& path, const char* what) { return Session::Failed(path + " " + what); }

  Session& session_;
  RecordReader& reader_;
  const FileJob& job_;
  Caller& caller_;
  const ResultColumns<Result>& columns_;
  const RecordFormat format_ = FormatOfFile(job_.out);
  std::ofstream out_;
  int64_t records_ = 0, without_ = 0;
  bool failed_ = false;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace engram::client
