#include "core/corpus/dataset.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/files.h"
#include "core/base/utf8.h"
#include "core/corpus/readers.h"
#include "core/corpus/row_errors.h"
#include "core/tagging/bio.h"
#include "nlohmann/json.hpp"

namespace engram::corpus {
namespace {

enum class Format { kJsonLines, kCsv, kTsv, kConll, kPlain };

absl::StatusOr<Format> FormatOf(std::string_view name, std::string_view field) {
  std::string lower = absl::AsciiStrToLower(AbslView(name));
  if (lower.ends_with(".gz")) lower.resize(lower.size() - 3);
  static const std::map<std::string, Format> kFormats = {
      {".jsonl", Format::kJsonLines}, {".ndjson", Format::kJsonLines}, {".json", Format::kJsonLines},
      {".csv", Format::kCsv},         {".tsv", Format::kTsv},          {".conll", Format::kConll},
      {".bio", Format::kConll},       {".iob", Format::kConll},        {".txt", Format::kPlain}};
  const size_t dot = lower.rfind('.');
  const auto found = dot == std::string::npos ? kFormats.end() : kFormats.find(lower.substr(dot));
  if (found != kFormats.end()) return found->second;
  return InvalidField(
      absl::StrCat(AbslView(field), "_file"),
      "has an extension that says no format; use .jsonl, .csv, .tsv, .conll or .txt, with or without .gz");
}

absl::Status CheckUtf8(std::string_view bytes, std::string_view field) {
  const std::optional<size_t> bad = FindInvalidUtf8(bytes);
  if (!bad) return absl::OkStatus();
  const auto line = 1 + std::count(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(*bad), '\n');
  return InvalidField(absl::StrCat(AbslView(field), " line ", line),
                      absl::StrCat("is not UTF-8 (byte ", *bad, " of the file); convert the file to UTF-8"));
}

absl::StatusOr<Dataset> ReadRows(std::string_view text, Format format, std::string_view field) {
  switch (format) {
    case Format::kJsonLines:
      return ReadJsonLines(text, field);
    case Format::kCsv:
      return ReadDelimited(text, ',', field);
    case Format::kTsv:
      return ReadDelimited(text, '\t', field);
    case Format::kConll:
      return ReadConll(text, field);
    case Format::kPlain:
      return ReadPlain(text, field);
  }
  return absl::InternalError("unknown format");
}

}  // namespace

absl::StatusOr<Dataset> ParseDataset(std::string bytes, std::string_view name, std::string_view field,
                                     const ReadLimits& limits) {
  ENGRAM_ASSIGN_OR_RETURN(const Format format, FormatOf(name, field));
  absl::StatusOr<std::string> inflated = MaybeGunzip(std::move(bytes), limits.max_bytes);
  if (!inflated.ok()) return Annotate(inflated.status(), field);
  std::string_view text = *inflated;
  if (text.size() > limits.max_bytes) {
    return InvalidField(field, absl::StrCat("is larger than ", limits.max_bytes, " bytes; split it"));
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  ENGRAM_RETURN_IF_ERROR(CheckUtf8(text, field));
  ENGRAM_ASSIGN_OR_RETURN(Dataset dataset, ReadRows(text, format, field));
  if (dataset.size() == 0) return InvalidField(field, "holds no rows; it must hold at least one");
  if (dataset.size() > limits.max_rows) {
    return InvalidField(field, absl::StrCat("holds ", dataset.size(), " rows; at most ", limits.max_rows, " are read"));
  }
  return dataset;
}

std::vector<std::string> DistinctLabels(const Dataset& dataset) {
  std::set<std::string> labels(dataset.labels.begin(), dataset.labels.end());
  for (const TaggedSentence& sentence : dataset.sentences) {
    for (const std::string& tag : sentence.tags) {
      if (tag != "O") labels.insert(tag.substr(2));
    }
  }
  return {labels.begin(), labels.end()};
}

absl::Status CheckTrainingPart(const Dataset& training) {
  const std::vector<std::string> labels = DistinctLabels(training);
  if (training.kind == DatasetKind::kClassification && labels.size() < 2) {
    return InvalidField("training",
                        absl::StrCat("has one label only (\"", labels[0], "\"); a classifier needs at least two"));
  }
  if (training.kind == DatasetKind::kTagging && labels.empty()) {
    return InvalidField("training", "has no entity: every tag is O; a tagger needs at least one");
  }
  return absl::OkStatus();
}

absl::Status CheckTestPart(const Dataset& training, const Dataset& test) {
  if (training.kind != test.kind) return InvalidField("test", "has rows of another kind than the training part");
  const std::vector<std::string> known = DistinctLabels(training);
  std::vector<std::string> unknown;
  for (const std::string& label : DistinctLabels(test)) {
    if (!std::binary_search(known.begin(), known.end(), label)) unknown.push_back(absl::StrCat("\"", label, "\""));
  }
  if (unknown.empty()) return absl::OkStatus();
  const size_t shown = std::min<size_t>(unknown.size(), 20);
  return InvalidField(
      "test", absl::StrCat("has ", unknown.size(), " label(s) that the training part does not have: ",
                           absl::StrJoin(unknown.begin(), unknown.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                           shown < unknown.size() ? ", ..." : "",
                           "; correct them, or add rows of these labels to the training part"));
}

std::string RenderCanonical(const Dataset& dataset) {
  std::string out;
  for (int64_t i = 0; i < dataset.size(); ++i) {
    const auto row = static_cast<size_t>(i);
    nlohmann::ordered_json json;
    if (dataset.kind == DatasetKind::kTagging) {
      const TaggedSentence& sentence = dataset.sentences[row];
      json = {{"text", sentence.text}, {"words", sentence.words}, {"tags", sentence.tags}};
    } else {
      json["text"] = dataset.texts[row];
      if (dataset.kind == DatasetKind::kClassification) json["label"] = dataset.labels[row];
    }
    out += json.dump();
    out += '\n';
  }
  return out;
}

absl::StatusOr<Dataset> ParseCanonical(std::string_view bytes) {
  absl::StatusOr<Dataset> dataset = ReadJsonLines(bytes, "dataset");
  if (!dataset.ok()) return absl::DataLossError("a stored data set is damaged; delete it and upload it again");
  return dataset;
}

}  // namespace engram::corpus
