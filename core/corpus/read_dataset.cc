#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/foreign_content.h"
#include "core/base/strict_json.h"
#include "core/corpus/encoding.h"
#include "core/corpus/readers.h"
#include "core/corpus/sniff.h"
#include "core/corpus/word_table.h"

namespace engram::corpus {
namespace {

// kUnknown: an extension that says nothing ("eng.train"); the lines have to.
enum class Format { kJson, kCsv, kTsv, kConll, kPlain, kFastText, kUnknown };

constexpr const char* kFormats = "jsonl, csv, tsv, conll, txt or fasttext";

absl::StatusOr<Format> FormatOf(std::string_view name, std::string_view field, const ReadOptions& options) {
  static const std::map<std::string, Format> kByOption = {
      {"jsonl", Format::kJson},  {"json", Format::kJson}, {"csv", Format::kCsv},          {"tsv", Format::kTsv},
      {"conll", Format::kConll}, {"txt", Format::kPlain}, {"fasttext", Format::kFastText}};
  static const std::map<std::string, Format> kByExtension = {
      {".jsonl", Format::kJson},    {".ndjson", Format::kJson},   {".json", Format::kJson},
      {".csv", Format::kCsv},       {".tsv", Format::kTsv},       {".tab", Format::kTsv},
      {".conll", Format::kConll},   {".bio", Format::kConll},     {".iob", Format::kConll},
      {".iob2", Format::kConll},    {".bioes", Format::kConll},   {".conllu", Format::kConll},
      {".conllup", Format::kConll}, {".bmes", Format::kConll},    {".iobes", Format::kConll},
      {".ner", Format::kUnknown},   {".txt", Format::kPlain},     {".ft", Format::kFastText},
      {".train", Format::kUnknown}, {".dev", Format::kUnknown},   {".test", Format::kUnknown},
      {".valid", Format::kUnknown}, {".testa", Format::kUnknown}, {".testb", Format::kUnknown}};
  if (!options.format.empty()) {
    const auto found = kByOption.find(absl::AsciiStrToLower(options.format));
    if (found != kByOption.end()) return found->second;
    return InvalidField("format", absl::StrCat("is none of ", kFormats));
  }
  std::string lower = absl::AsciiStrToLower(AbslView(name));
  if (lower.ends_with(".gz")) lower.resize(lower.size() - 3);
  const size_t dot = lower.rfind('.');
  const auto found = dot == std::string::npos ? kByExtension.end() : kByExtension.find(lower.substr(dot));
  if (found != kByExtension.end()) return found->second;
  return InvalidField(absl::StrCat(AbslView(field), "_file"),
                      absl::StrCat("has an extension that says no format; use .jsonl, .csv, .tsv, .conll or .txt, with "
                                   "or without .gz, or say the format with --format (",
                                   kFormats, ")"));
}

absl::Status NoteFormat(const char* what, Reading& reading) {
  reading.notes.push_back({"FORMAT", absl::StrCat("the file's lines are ", what, " and were read so")});
  return absl::OkStatus();
}

// Whether the user's options are of words and tags.
bool TagsAreMeant(const ReadOptions& options) {
  return !options.word_column.empty() || !options.tag_column.empty() || options.kind == DatasetKind::kWordTags;
}

absl::Status LabelledLines(const LineLabel& label, std::string_view field) {
  const std::string where = label.separator == 0 ? std::string("begins with")
                                                 : absl::StrCat(label.behind ? "ends" : "begins", " (\"",
                                                                std::string(1, label.separator), "\" beside it) with");
  const char* help = label.separator == 0 ? "write the label behind __label__ (\"__label__pos text\") or before a tab"
                     : label.behind       ? "name the columns with --text-column 1 --label-column 2 (their numbers)"
                                          : "name the columns with --text-column 2 --label-column 1 (their numbers)";
  return InvalidField(field, absl::StrCat("every line ", where, " what reads like a label (", Quoted(label.first),
                                          " in the first), under a name that says plain text; ", help,
                                          ", or say with --format txt that each line is one text"));
}

// A file whose name says "text" or nothing: what its lines are, if they leave no doubt.
absl::Status ReadByLines(const ReaderInput& input, Format format, Reading& reading) {
  const ReadOptions& options = input.options;
  const FastTextLines fast_text = CountFastText(input.text);
  if (fast_text.labelled > 0 && fast_text.labelled == fast_text.lines) {
    ENGRAM_RETURN_IF_ERROR(NoteFormat("labelled as fastText has them (__label__)", reading));
    return ReadFastText(input, reading);
  }
  if (fast_text.labelled > 0) {
    return InvalidField(input.field, absl::StrCat(fast_text.labelled, " of ", fast_text.lines,
                                                  " lines begin with __label__; correct the others, or say with "
                                                  "--format txt that these are words of the text"));
  }
  if (TagsAreMeant(options) || LooksLikeTags(input.text)) {
    ENGRAM_RETURN_IF_ERROR(NoteFormat("words and tags in columns (CoNLL)", reading));
    return ReadConll(input, reading);
  }
  const int64_t columns = TabColumns(input.text);
  const bool named = !options.text_column.empty() || !options.label_column.empty() || !options.pair_column.empty();
  if (named || (columns > 1 && HasKnownHeader(input, '\t'))) {
    ENGRAM_RETURN_IF_ERROR(NoteFormat("rows of a table", reading));
    return ReadTable(input, '\t', reading);
  }
  if (columns > 1) {
    return InvalidField(
        input.field,
        absl::StrCat("has ", columns,
                     " columns separated by tabs in every line, under a name that says plain text; "
                     "name the columns with --text-column and --label-column (numbers from 1), or say with --format "
                     "txt that each line is one text"));
  }
  for (const char separator : {',', ';'}) {
    if (!HasLabelledHeader(input, separator)) continue;
    ENGRAM_RETURN_IF_ERROR(NoteFormat("rows of a table", reading));
    return ReadTable(input, separator, reading);
  }
  if (LooksLikeSlashTags(input.text)) {
    return InvalidField(
        input.field,
        "has words with their tags behind a slash, under a name that says plain text; write a word, a tab "
        "and its tag per line, with an empty line between sentences (.conll), or say with --format txt "
        "that each line is one text");
  }
  if (const auto label = FindLineLabel(input.text)) return LabelledLines(*label, input.field);
  if (format == Format::kPlain) return ReadPlain(input, reading);
  return InvalidField(absl::StrCat(AbslView(input.field), "_file"),
                      absl::StrCat("has an extension that says no format, and its lines do not say it either; say it "
                                   "with --format (",
                                   kFormats, ")"));
}

absl::Status ReadRows(const ReaderInput& input, Format format, Reading& reading) {
  const bool said = !input.options.format.empty();
  if (!said && format != Format::kJson && format != Format::kFastText && LooksLikeJson(input.text)) {
    ENGRAM_RETURN_IF_ERROR(NoteFormat("JSON", reading));
    return ReadJson(input, reading);
  }
  const bool table = format == Format::kCsv || format == Format::kTsv;
  const char separator = format == Format::kTsv ? '\t' : ',';
  if (table) {
    ENGRAM_ASSIGN_OR_RETURN(const bool words, ReadWordTable(input, separator, reading));
    if (words) return absl::OkStatus();
  }
  if (table && !said &&
      (TagsAreMeant(input.options) || (!HasKnownHeader(input, separator) && LooksLikeTags(input.text)))) {
    ENGRAM_RETURN_IF_ERROR(NoteFormat("words and tags in columns (CoNLL)", reading));
    return ReadConll(input, reading);
  }
  switch (format) {
    case Format::kJson:
      return ReadJson(input, reading);
    case Format::kCsv:
    case Format::kTsv:
      return ReadTable(input, separator, reading);
    case Format::kConll:
      return ReadConll(input, reading);
    case Format::kFastText:
      return ReadFastText(input, reading);
    case Format::kPlain:
      return said ? ReadPlain(input, reading) : ReadByLines(input, format, reading);
    case Format::kUnknown:
      return ReadByLines(input, format, reading);
  }
  return absl::InternalError("unknown format");
}

const char* KindName(DatasetKind kind) {
  return kind == DatasetKind::kClassification ? "texts with labels"
         : kind == DatasetKind::kPairs        ? "pairs of texts with labels"
         : kind == DatasetKind::kTagging      ? "words with tags of entities"
         : kind == DatasetKind::kWordTags     ? "words with tags"
                                              : "plain texts";
}

// The rows as the kind that was asked for; texts can be had from all of them.
absl::Status MakeKind(const ReadOptions& options, std::string_view field, Reading& reading) {
  Dataset& dataset = reading.dataset;
  if (!options.kind || *options.kind == dataset.kind) return absl::OkStatus();
  if (*options.kind != DatasetKind::kText || dataset.kind == DatasetKind::kPairs) {
    return InvalidField(
        field,
        absl::StrCat("holds ", KindName(dataset.kind), ", not the ", KindName(*options.kind), " that --kind asks for",
                     dataset.kind == DatasetKind::kPairs ? "; name one text with --text-column" : ""));
  }
  for (size_t i = 0; i < dataset.sentences.size(); ++i) dataset.texts.push_back(dataset.sentences.text(i));
  dataset.sentences.clear();
  dataset.labels.clear();
  dataset.kind = DatasetKind::kText;
  reading.notes.push_back({"COLUMNS_NOT_READ", "labels or tags were left out, as asked for"});
  for (auto& [column, role] : reading.columns) {
    if (role == "label" || role == "tags" || role == "entities") role = "not read";
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Reading> ReadDataset(std::string bytes, std::string_view name, std::string_view field,
                                    const ReadOptions& options, const ReadLimits& limits) {
  const absl::StatusOr<Format> format = FormatOf(name, field, options);
  if (!format.ok()) {
    const auto foreign = ForeignContent(bytes);
    return foreign ? InvalidField(field, *foreign) : format.status();
  }
  absl::StatusOr<std::string> inflated = MaybeGunzip(std::move(bytes), limits.max_bytes);
  if (!inflated.ok()) return Annotate(inflated.status(), field);
  if (inflated->size() > limits.max_bytes)
    return InvalidField(field, absl::StrCat("is larger than ", limits.max_bytes, " bytes; split it"));
  if (const auto foreign = ForeignContent(*inflated)) return InvalidField(field, *foreign);
  Reading reading;
  ENGRAM_ASSIGN_OR_RETURN(const std::string text,
                          DecodeText(*std::move(inflated), field, limits.max_bytes, reading.notes));
  ENGRAM_RETURN_IF_ERROR(ReadRows({text, field, options, limits.max_rows}, *format, reading));
  const int64_t rows = reading.dataset.size();
  if (rows == 0) return InvalidField(field, "holds no rows; it must hold at least one");
  if (rows > limits.max_rows)
    return InvalidField(field, absl::StrCat("holds more than ", limits.max_rows, " rows; split it"));
  ENGRAM_RETURN_IF_ERROR(MakeKind(options, field, reading));
  if (const size_t labels = DistinctLabels(reading.dataset).size(); labels > kMostLabels) {
    return InvalidField(
        field, absl::StrCat("has ", labels, " different ", HasLabels(reading.dataset.kind) ? "labels" : "tags or types",
                            "; at most ", kMostLabels,
                            " can be learned: is another column meant? (--label-column, "
                            "--tag-column)"));
  }
  return reading;
}

}  // namespace engram::corpus
