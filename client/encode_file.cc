#include "client/encode_file.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "client/output.h"
#include "client/record_file.h"
#include "client/text_calls.h"
#include "nlohmann/json.hpp"

namespace engram::client {
namespace {

using engram::v1::EmbedRequest;
using engram::v1::EmbedResponse;
using Result = engram::v1::EmbedResult;

// Of one call's texts: the server takes 16 MiB.
constexpr size_t kBytesPerCall = size_t{1} << 20, kLongestLine = size_t{15} << 20;

std::string Numbers(const Result& result, const char* separator) {
  std::string text;
  for (const float value : result.vector()) text += (text.empty() ? "" : separator) + ShortestFloat(value);
  return text;
}

// Where the vectors go.
class VectorSink {
 public:
  virtual ~VectorSink() = default;
  // `width`: numbers of a vector, known with the first answer. Called before everything else.
  virtual void Begin(int64_t width) = 0;
  virtual void Add(int64_t line, const Result& result) = 0;
  virtual void End(int64_t /*lines*/) {}
};

class PrintSink final : public VectorSink {
 public:
  void Begin(int64_t /*width*/) override {}
  void Add(int64_t /*line*/, const Result& result) override { std::printf("%s\n", Numbers(result, " ").c_str()); }
};

class NpySink final : public VectorSink {
 public:
  explicit NpySink(std::ostream& out) : out_(out) {}
  // Room for any number of lines: the header is padded to a multiple of 64 bytes, and written again at the end.
  void Begin(int64_t width) override {
    width_ = width;
    header_ = NpyBytes({std::numeric_limits<int64_t>::max(), width}, "").size();
    out_ << std::string(header_, ' ');
  }
  void Add(int64_t /*line*/, const Result& result) override {
    std::vector<float> row(result.vector().begin(), result.vector().end());
    row.resize(static_cast<size_t>(width_), std::numeric_limits<float>::quiet_NaN());
    out_.write(reinterpret_cast<const char*>(row.data()), static_cast<std::streamsize>(row.size() * sizeof(float)));
  }
  void End(int64_t lines) override {
    std::string header = NpyBytes({lines, width_}, "");
    // The format lets a header be padded with spaces before its line end.
    const size_t padding = header_ - header.size();
    header.insert(header.size() - 1, padding, ' ');
    const size_t length = header.size() - 10;
    header[8] = static_cast<char>(length & 0xFF);
    header[9] = static_cast<char>(length >> 8 & 0xFF);
    out_.seekp(0);
    out_ << header;
  }

 private:
  std::ostream& out_;
  int64_t width_ = 0;
  size_t header_ = 0;
};

class JsonSink final : public VectorSink {
 public:
  explicit JsonSink(std::ostream& out) : out_(out) {}
  void Begin(int64_t /*width*/) override {}
  void Add(int64_t line, const Result& result) override {
    // Written by hand: a library would print each fp32 as the double that it is.
    out_ << "{\"line\": " << line;
    if (result.has_error()) {
      const nlohmann::json error = result.error().message();
      out_ << ", \"error\": " << error.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << "}\n";
      return;
    }
    out_ << ", \"tokens\": " << result.tokens() << ", \"chunks\": " << result.chunks()
         << ", \"truncated\": " << (result.truncated() ? "true" : "false") << ", \"vector\": [" << Numbers(result, ", ")
         << "]}\n";
  }

 private:
  std::ostream& out_;
};

class CsvSink final : public VectorSink {
 public:
  explicit CsvSink(std::ostream& out) : out_(out) {}
  void Begin(int64_t width) override {
    width_ = width;
    out_ << "line,error";
    for (int64_t i = 0; i < width; ++i) out_ << ",v" << i;
    out_ << "\r\n";
  }
  void Add(int64_t line, const Result& result) override {
    std::string error = result.has_error() ? result.error().message() : "";
    for (size_t at = 0; (at = error.find('"', at)) != std::string::npos; at += 2) error.insert(at, 1, '"');
    out_ << line << "," << (error.empty() ? "" : "\"" + error + "\"") << ",";
    out_ << (result.has_error() ? std::string(static_cast<size_t>(width_ - 1), ',') : Numbers(result, ",")) << "\r\n";
  }

 private:
  std::ostream& out_;
  int64_t width_ = 0;
};

// A part of the file's lines. `problems`: of lines that are not sent, as their errors.
struct Lines {
  std::vector<std::string> texts;
  std::vector<std::string> problems;  // "": none
};

class FileEncoder {
 public:
  FileEncoder(Session& session, RecordReader& reader, VectorSink& sink, EmbedRequest request)
      : session_(session),
        reader_(reader),
        sink_(sink),
        caller_(session, std::move(request), &engram::v1::InferenceService::Stub::Embed, /*send_blank=*/true) {}

  // nullopt: all lines have been read and written; else the exit status of what ended it.
  std::optional<int> Run() {
    // The first answer comes soon; later calls fill the server's batches.
    for (size_t most = 8;; most = kTextsPerCall) {
      const Lines lines = ReadSome(most);
      if (lines.texts.empty()) break;
      if (const std::optional<int> failed = EncodeSome(lines)) return failed;
      ShowProgress(/*last=*/false);
    }
    if (!reader_.whole()) return Session::Usage("the file cannot be read to its end");
    if (lines_ == 0) return Session::Usage("there is no line in the file");
    sink_.End(lines_);
    ShowProgress(/*last=*/true);
    return std::nullopt;
  }

  int64_t lines() const { return lines_; }
  int64_t without() const { return without_; }
  int64_t width() const { return width_; }

 private:
  Lines ReadSome(size_t most) {
    Lines some;
    size_t bytes = 0;
    for (Record record; some.texts.size() < most && bytes < kBytesPerCall && reader_.Next(record);) {
      if (record.text.size() > kLongestLine) {
        record.problem = "has " + std::to_string(record.text.size()) +
                         " bytes, more than one call takes; use --whole-file for a file that is one text";
        record.text.clear();
      }
      bytes += record.text.size();
      some.texts.push_back(std::move(record.text));
      some.problems.push_back(std::move(record.problem));
    }
    return some;
  }

  std::optional<int> EncodeSome(const Lines& some) {
    EmbedResponse response;
    if (const grpc::Status status = caller_.Call(some.texts, /*alone=*/false, response); !status.ok())
      return session_.Fail(status);
    if (response.dimension() > 0 && width_ == 0) {
      width_ = response.dimension();
      sink_.Begin(width_);
    }
    if (width_ == 0) {
      std::fprintf(stderr, "error: line %s: %s\n", std::to_string(lines_ + 1).c_str(),
                   response.results(0).error().message().c_str());
      return kFailed;
    }
    for (size_t i = 0; i < some.texts.size(); ++i) {
      Result& result = *response.mutable_results(static_cast<int>(i));
      if (!some.problems[i].empty()) {
        result.Clear();
        result.mutable_error()->set_message("the line " + some.problems[i]);
      }
      sink_.Add(++lines_, result);
      if (!result.has_error()) continue;
      ++without_;
      std::fprintf(stderr, "line %lld: %s\n", static_cast<long long>(lines_), result.error().message().c_str());
    }
    return std::nullopt;
  }

  void ShowProgress(bool last) const {
    if (isatty(STDERR_FILENO) == 0) return;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    std::fprintf(stderr, "\r%lld lines, %.0f per second%s", static_cast<long long>(lines_),
                 static_cast<double>(lines_) / std::max(seconds, 1e-3), last ? "\n" : "");
  }

  Session& session_;
  RecordReader& reader_;
  VectorSink& sink_;
  TextCaller<EmbedRequest, EmbedResponse> caller_;
  int64_t lines_ = 0, without_ = 0, width_ = 0;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

int Broken(const std::string& path) {
  std::fprintf(stderr, "error: %s cannot be written: %s\n", path.c_str(), std::strerror(errno));
  return kFailed;
}

int EncodeTo(Session& session, RecordReader& reader, EmbedRequest request, const std::string& path) {
  const std::string partial = path + ".partial";
  std::ofstream out(partial, std::ios::binary | std::ios::trunc);
  if (!out.good()) return Broken(path);
  std::unique_ptr<VectorSink> sink;
  if (path.ends_with(".npy")) {
    sink = std::make_unique<NpySink>(out);
  } else if (path.ends_with(".jsonl")) {
    sink = std::make_unique<JsonSink>(out);
  } else {
    sink = std::make_unique<CsvSink>(out);
  }
  FileEncoder encoder(session, reader, *sink, std::move(request));
  const std::optional<int> failed = encoder.Run();
  out.close();
  if (failed) {
    std::remove(partial.c_str());
    return *failed;
  }
  if (out.fail() || std::rename(partial.c_str(), path.c_str()) != 0) {
    const int status = Broken(path);
    std::remove(partial.c_str());
    return status;
  }
  if (session.json) {
    const nlohmann::ordered_json said = {{"out", path},
                                         {"lines", encoder.lines()},
                                         {"without_result", encoder.without()},
                                         {"dimension", encoder.width()}};
    std::printf("%s\n", said.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
  } else {
    std::printf("%lld vectors of %lld numbers written to %s, %lld lines without a result\n",
                static_cast<long long>(encoder.lines() - encoder.without()), static_cast<long long>(encoder.width()),
                path.c_str(), static_cast<long long>(encoder.without()));
  }
  return encoder.without() > 0 ? kFailed : kOk;
}

}  // namespace

std::string ShortestFloat(float value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

int EncodeFile(Session& session, EmbedRequest request, const EncodeJob& job) {
  const bool known = job.out.ends_with(".npy") || job.out.ends_with(".jsonl") || job.out.ends_with(".csv");
  if (!job.out.empty() && !known) return Session::Usage("--out must end in .npy, .jsonl or .csv");
  if (job.out.empty() && session.json) return Session::Usage("--json with --file needs --out FILE.jsonl");
  std::string error;
  std::optional<RecordReader> reader = RecordReader::Open(job.file, job.text_column, error);
  if (!reader) return Session::Usage(error);
  if (reader->format() == RecordFormat::kLines && !job.text_column.empty())
    return Session::Usage("--text-column needs a file whose name ends in .csv, .tsv or .jsonl");
  if (reader->encoding() != nullptr)
    std::fprintf(stderr, "note: the file is %s and is read as such\n", reader->encoding());
  if (!job.out.empty()) return EncodeTo(session, *reader, std::move(request), job.out);
  PrintSink sink;
  FileEncoder encoder(session, *reader, sink, std::move(request));
  return encoder.Run().value_or(encoder.without() > 0 ? kFailed : kOk);
}

}  // namespace engram::client
