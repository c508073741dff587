#include "client/classify_file.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <utility>

#include "client/record_file.h"
#include "client/text_calls.h"
#include "nlohmann/json.hpp"

namespace engram::client {
namespace {

using engram::v1::ClassifyRequest;
using engram::v1::ClassifyResponse;
using Result = engram::v1::ClassifyResult;

std::string Number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

class FileClassifier {
 public:
  FileClassifier(Session& session, RecordReader& reader, const FileJob& job, ClassifyRequest request)
      : session_(session),
        reader_(reader),
        job_(job),
        format_(FormatOfFile(job.out)),
        abstains_(request.abstain()),
        caller_(session, std::move(request), &engram::v1::InferenceService::Stub::Classify) {}

  int Run() {
    if (const std::optional<int> failed = FindTasks()) return *failed;
    out_.open(job_.out, std::ios::binary | std::ios::trunc);
    if (format_ != RecordFormat::kJsonLines) WriteHeader();
    // The first answer comes soon; later calls fill the server's batches.
    size_t part = 8;
    while (true) {
      const std::vector<Record> records = ReadSome(part);
      if (records.empty()) break;
      if (const std::optional<int> failed = ClassifySome(records)) return *failed;
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
      std::printf("%lld records written to %s, %lld without a result\n", static_cast<long long>(records_),
                  job_.out.c_str(), static_cast<long long>(without_));
    }
    return failed_ ? kFailed : kOk;
  }

 private:
  // The names of the columns to add need the tasks of the version; a word is enough to learn them.
  std::optional<int> FindTasks() {
    ClassifyResponse answer;
    if (const grpc::Status status = caller_.Call({"a"}, /*alone=*/true, answer); !status.ok())
      return session_.Fail(status);
    for (const auto& task : answer.results(0).tasks()) tasks_.push_back(task.task());
    return std::nullopt;
  }

  void WriteHeader() {
    std::vector<std::string> columns = reader_.columns();
    std::set<std::string> taken(columns.begin(), columns.end());
    const auto add = [&](std::string name) {
      while (!taken.insert(name).second) name = "predicted_" + name;
      columns.push_back(std::move(name));
    };
    for (const std::string& task : tasks_) {
      add(LastPart(task));
      add(LastPart(task) + "_probability");
      if (abstains_) add(LastPart(task) + "_fits");
    }
    add("error");
    out_ << RenderRow(format_, columns);
  }

  std::vector<Record> ReadSome(size_t most) {
    std::vector<Record> records;
    for (Record record; records.size() < most && reader_.Next(record);) records.push_back(std::move(record));
    return records;
  }

  std::optional<int> ClassifySome(const std::vector<Record>& records) {
    std::vector<std::string> texts;
    for (const Record& record : records) texts.push_back(record.text);
    ClassifyResponse response;
    if (const grpc::Status status = caller_.Call(texts, /*alone=*/false, response); !status.ok()) {
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
    for (int i = 0; i < static_cast<int>(tasks_.size()); ++i) {
      const bool scored = !result.has_error() && i < result.tasks_size() && result.tasks(i).scores_size() > 0;
      cells.push_back(scored ? result.tasks(i).scores(0).label() : "");
      cells.push_back(scored ? Number(result.tasks(i).scores(0).probability()) : "");
      if (abstains_) cells.push_back(!scored ? "" : result.tasks(i).abstained() ? "no" : "yes");
    }
    cells.push_back(result.has_error() ? result.error().message() : "");
    cells.insert(cells.end(), beyond, record.cells.end());
    return RenderRow(format_, cells);
  }

  std::string JsonLine(const Record& record, const Result& result) const {
    nlohmann::ordered_json added;
    if (result.has_error()) {
      added["error"] = result.error().message();
    } else {
      added["tasks"] = nlohmann::ordered_json::object();
      for (const auto& task : result.tasks()) {
        nlohmann::ordered_json& scores = added["tasks"][LastPart(task.task())] = nlohmann::ordered_json::array();
        for (const auto& score : task.scores())
          scores.push_back({{"label", score.label()}, {"probability", score.probability()}});
        if (task.has_confidence()) added["fits"][LastPart(task.task())] = !task.abstained();
      }
    }
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
  const RecordFormat format_;
  const bool abstains_;
  TextCaller<ClassifyRequest, ClassifyResponse> caller_;
  std::ofstream out_;
  std::vector<std::string> tasks_;
  int64_t records_ = 0, without_ = 0;
  bool failed_ = false;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace

int ClassifyFile(Session& session, ClassifyRequest request, const FileJob& job) {
  const RecordFormat format = FormatOfFile(job.out);
  if (format == RecordFormat::kLines) return Session::Usage("--out must end in .csv, .tsv or .jsonl");
  std::error_code ignored;
  if (std::filesystem::equivalent(job.file, job.out, ignored))
    return Session::Usage("--out is the file that is read; name another one");
  std::string error;
  std::optional<RecordReader> reader = RecordReader::Open(job.file, job.text_column, error);
  if (!reader) return Session::Usage(error);
  if (reader->format() == RecordFormat::kJsonLines && format != RecordFormat::kJsonLines)
    return Session::Usage("a .jsonl file has no columns that a table could keep; let --out end in .jsonl");
  if (reader->format() == RecordFormat::kLines && !job.text_column.empty())
    return Session::Usage("--text-column needs a file whose name ends in .csv, .tsv or .jsonl");
  if (format != RecordFormat::kJsonLines) request.set_top_k(1);
  return FileClassifier(session, *reader, job, std::move(request)).Run();
}

}  // namespace engram::client
