// engram annotate: the terms of a list in texts, shown or written as a data set of entities.

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <istream>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "client/commands.h"
#include "client/gzip_input.h"
#include "client/record_file.h"
#include "client/term_list.h"
#include "client/text_source.h"
#include "engram/v1/annotation.grpc.pb.h"
#include "nlohmann/json.hpp"

namespace engram::client {
namespace {

using engram::v1::AnnotateTextsRequest;
using engram::v1::AnnotateTextsResponse;
using engram::v1::AnnotationService;
using engram::v1::TermMatch;

struct AnnotateArguments {
  std::string text, file, text_column, pages, terms, label, out, ambiguous = "error", other_words;
  bool case_sensitive = false;
};

std::optional<std::string> ReadWhole(const std::string& path) {
  const std::unique_ptr<GzipInput> source = GzipInput::Open(path);
  if (!source) return std::nullopt;
  std::istream in(source.get());
  std::string text, buffer(size_t{1} << 16, '\0');
  while (in.read(buffer.data(), static_cast<std::streamsize>(buffer.size())), in.gcount() > 0)
    text.append(buffer, 0, static_cast<size_t>(in.gcount()));
  return source->whole() ? std::optional(text) : std::nullopt;
}

void PrintMatches(const std::vector<std::string>& texts, const AnnotateTextsResponse& response) {
  for (int i = 0; i < response.results_size(); ++i) {
    const auto& result = response.results(i);
    std::printf("%s\n", ShortText(texts[static_cast<size_t>(i)]).c_str());
    if (result.has_error()) std::printf("  error: %s\n", result.error().message().c_str());
    if (!result.has_error() && result.matches().empty()) std::printf("  no terms\n");
    const auto print = [](const TermMatch& match, const char* note) {
      std::string labels;
      for (const std::string& label : match.labels()) labels += (labels.empty() ? "" : "|") + label;
      std::printf("  %-14s %s  [%lld, %lld)%s\n", labels.c_str(), match.text().c_str(),
                  static_cast<long long>(match.start()), static_cast<long long>(match.end()), note);
    };
    for (const TermMatch& match : result.matches()) print(match, match.labels_size() > 1 ? "  ambiguous" : "");
    for (const TermMatch& match : result.overlapped()) print(match, "  within or across a longer one: not taken");
  }
}

// Annotates text after text and writes rows of {"text", "entities", "other_words"}.
class Annotator {
 public:
  Annotator(Session& session, const AnnotateArguments& arguments, TermList list)
      : session_(session), arguments_(arguments), stub_(session.Stub<AnnotationService>()) {
    for (engram::v1::Term& term : list.terms) *request_.add_terms() = std::move(term);
    repeated_ = list.repeated;
  }

  int Run(TextSource& source) {
    if (!arguments_.out.empty()) out_.open(arguments_.out, std::ios::binary | std::ios::trunc);
    std::vector<std::string> texts;
    while (true) {
      texts.clear();
      std::string error;
      if (!source.Next(kTexts, kBytes, texts, error)) return Session::Failed(error);
      if (texts.empty()) break;
      if (const std::optional<int> failed = AnnotateSome(texts)) return *failed;
    }
    return Conclude();
  }

 private:
  static constexpr size_t kTexts = 256, kBytes = size_t{8} << 20;  // of one call

  std::optional<int> AnnotateSome(const std::vector<std::string>& texts) {
    request_.clear_texts();
    for (const std::string& text : texts) request_.add_texts(text);
    AnnotateTextsResponse response;
    const auto context = session_.NewContext();
    if (const grpc::Status status = stub_->AnnotateTexts(context.get(), request_, &response); !status.ok())
      return session_.Fail(status);
    for (size_t i = 0; i < texts.size(); ++i) {
      if (const std::optional<int> failed = Count(texts[i], response.results(static_cast<int>(i)))) return failed;
    }
    if (!arguments_.out.empty()) {
      out_.flush();
      return out_.good() ? std::nullopt : std::optional(Session::Failed(arguments_.out + " cannot be written"));
    }
    if (session_.json) {
      all_.MergeFrom(response);
    } else {
      PrintMatches(texts, response);
    }
    return std::nullopt;
  }

  std::optional<int> Count(const std::string& text, const engram::v1::TextAnnotation& result) {
    ++texts_;
    failed_ += result.has_error() ? 1 : 0;
    overlapped_ += result.overlapped_size();
    nlohmann::ordered_json entities = nlohmann::ordered_json::array();
    for (const TermMatch& match : result.matches()) {
      if (match.labels_size() > 1) {
        if (!arguments_.out.empty() && arguments_.ambiguous == "error") {
          return Session::Failed("text " + std::to_string(texts_) + " has \"" + match.text() +
                                 "\", for which the list gives several labels; keep one of them in the list, or choose "
                                 "with --ambiguous first or --ambiguous skip");
        }
        ++ambiguous_;
        if (arguments_.ambiguous == "skip") continue;
      }
      // The first term of the list that stands there, and its first label.
      const std::string& label = request_.terms(match.terms(0)).labels(0);
      ++counts_[label];
      entities.push_back({{"start", match.start()}, {"end", match.end()}, {"label", label}, {"text", match.text()}});
    }
    if (arguments_.out.empty() || result.has_error()) return std::nullopt;
    const nlohmann::ordered_json row = {
        {"text", text},
        {"entities", std::move(entities)},
        {"other_words", arguments_.other_words.empty() ? "unknown" : arguments_.other_words}};
    out_ << row.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << '\n';
    return std::nullopt;
  }

  int Conclude() {
    if (!arguments_.out.empty()) {
      out_.close();
      if (out_.fail()) return Session::Failed(arguments_.out + " cannot be written");
    }
    if (arguments_.out.empty() && session_.json) Session::PrintJson(all_);
    if (texts_ == 0) return Session::Failed("there is no text");
    if (!arguments_.out.empty()) Summarize();
    return failed_ > 0 ? kFailed : kOk;
  }

  void Summarize() const {
    if (session_.json) {
      nlohmann::ordered_json said = {{"out", arguments_.out},        {"texts", texts_},
                                     {"entities", counts_},          {"overlapped", overlapped_},
                                     {"ambiguous", ambiguous_},      {"repeated_terms", repeated_},
                                     {"without_annotation", failed_}};
      std::printf("%s\n", said.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
      return;
    }
    int64_t entities = 0;
    std::string labels;
    for (const auto& [label, count] : counts_) {
      entities += count;
      labels += (labels.empty() ? ": " : ", ") + label + " " + std::to_string(count);
    }
    std::printf("%lld texts with %lld entities%s written to %s\n", static_cast<long long>(texts_ - failed_),
                static_cast<long long>(entities), labels.c_str(), arguments_.out.c_str());
    const auto note = [](int64_t count, const char* what) {
      if (count > 0) std::printf("%lld %s\n", static_cast<long long>(count), what);
    };
    note(overlapped_, "places lie within or across longer ones and are not taken");
    note(ambiguous_, arguments_.ambiguous == "skip" ? "places have several labels and are left out"
                                                    : "places have several labels; the list's first one stands");
    note(repeated_, "lines of the list say what a line before them says");
    note(failed_, "texts could not be annotated and are left out");
  }

  Session& session_;
  const AnnotateArguments& arguments_;
  const std::unique_ptr<AnnotationService::Stub> stub_;
  AnnotateTextsRequest request_;
  AnnotateTextsResponse all_;
  std::ofstream out_;
  std::map<std::string, int64_t> counts_;
  int64_t texts_ = 0, overlapped_ = 0, ambiguous_ = 0, failed_ = 0, repeated_ = 0;
};

int Annotate(Session& session, const AnnotateArguments& arguments) {
  const std::vector<std::string> sources = {arguments.text, arguments.file, arguments.pages};
  if (std::count(sources.begin(), sources.end(), "") != 2)
    return Session::Usage("give one of: a TEXT, --file FILE, --pages DATASET");
  if (!arguments.out.empty() && FormatOfFile(arguments.out) != RecordFormat::kJsonLines)
    return Session::Usage("--out must end in .jsonl");
  if (arguments.out.empty() && !arguments.other_words.empty()) return Session::Usage("--other-words needs --out");
  std::error_code ignored;
  for (const std::string& read : {arguments.file, arguments.terms}) {
    if (!arguments.out.empty() && std::filesystem::equivalent(read, arguments.out, ignored))
      return Session::Usage("--out is a file that is read; name another one");
  }
  const std::optional<std::string> bytes = ReadWhole(arguments.terms);
  if (!bytes) return Session::Usage("the list cannot be read to its end");
  TermList list = ParseTermList(*bytes, FormatOfFile(arguments.terms) == RecordFormat::kJsonLines, arguments.label,
                                arguments.case_sensitive);
  if (!list.error.empty()) return Session::Usage(list.error);
  std::string error;
  const std::unique_ptr<TextSource> source = !arguments.pages.empty() ? PagesOfDataset(session, arguments.pages)
                                             : !arguments.file.empty()
                                                 ? TextsOfFile(arguments.file, arguments.text_column, error)
                                                 : OneText(arguments.text);
  if (!source) return Session::Usage(error);
  return Annotator(session, arguments, std::move(list)).Run(*source);
}

}  // namespace

void AddAnnotateVerb(CLI::App& app, Session& session) {
  const auto arguments = std::make_shared<AnnotateArguments>();
  AnnotateArguments& a = *arguments;
  const CLI::Validator file_or_stdin(
      [](std::string& path) { return path == "-" ? std::string() : CLI::ExistingFile(path); }, "FILE");
  CLI::App* verb = app.add_subcommand("annotate",
                                      "The terms of a list in texts; with --out as a data set of entities\nExample: "
                                      "engram annotate --pages pages --terms "
                                      "terms.tsv --out entities.jsonl");
  verb->add_option("TEXT", a.text, "one text");
  verb->add_option("--file", a.file, "texts: one per line, or a column of a table; \"-\" is standard input")
      ->check(file_or_stdin);
  verb->add_option("--text-column", a.text_column,
                   "the column (.csv, .tsv) or key (.jsonl) of the texts; default: text");
  verb->add_option("--pages", a.pages, "the pages of a data set that `engram collect` made");
  verb->add_option(
          "--terms", a.terms,
          "the list: a term a line, behind a tab its label or labels (with commas), behind another tab \"case\" "
          "where only that spelling counts; or .jsonl with text, labels, case_sensitive")
      ->required()
      ->check(CLI::ExistingFile);
  verb->add_option("--label", a.label, "the label of terms for which the list gives none");
  verb->add_flag("--case-sensitive", a.case_sensitive, "all terms count only as they are written");
  verb->add_option("--out", a.out,
                   "write rows of text and entities to this file (.jsonl), for `engram datasets upload`");
  verb->add_option(
          "--ambiguous", a.ambiguous,
          "with --out, of a place for which the list gives several labels: stop (error), take the first term's "
          "first label (first), or leave it out (skip)")
      ->check(CLI::IsMember({"error", "first", "skip"}))
      ->capture_default_str();
  verb->add_option(
          "--other-words", a.other_words,
          "with --out, what is known of the words that no term matches: nothing (unknown; the default), or that "
          "they are outside of entities (outside), because the list has every name of its kinds")
      ->check(CLI::IsMember({"unknown", "outside"}));
  verb->callback([=, &session] { session.run = [=, &session] { return Annotate(session, *arguments); }; });
}

}  // namespace engram::client
