#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/corpus/delimited.h"
#include "core/corpus/lines.h"
#include "core/corpus/readers.h"
#include "core/corpus/row_errors.h"
#include "core/tagging/bio.h"
#include "core/tagging/words.h"

namespace engram::corpus {
namespace {

// The columns of that name.
std::vector<size_t> FindColumns(const DelimitedRow& header, std::string_view name) {
  std::vector<size_t> columns;
  for (size_t i = 0; i < header.cells.size(); ++i) {
    if (absl::AsciiStrToLower(AbslView(tagging::TrimWhiteSpace(header.cells[i]))) == AbslView(name))
      columns.push_back(i);
  }
  return columns;
}

// The sentences of a CoNLL file as they stand there.
struct ConllSentences {
  std::vector<std::vector<std::string>> words, tags;
  std::vector<std::vector<int64_t>> lines;  // of each word
};

ConllSentences SplitSentences(std::string_view text, RowErrors& errors) {
  ConllSentences sentences;
  bool open = false;
  ForEachLine(text, [&](int64_t number, std::string_view line) {
    const std::string_view trimmed = tagging::TrimWhiteSpace(line);
    if (trimmed.empty() || trimmed.starts_with("-DOCSTART-")) {
      open = false;
      return;
    }
    // Columns are separated by tabs; by spaces where there is no tab. A word may hold any other character.
    const char separator = trimmed.find('\t') == std::string_view::npos ? ' ' : '\t';
    const size_t word_end = trimmed.find(separator), tag_begin = trimmed.rfind(separator);
    if (word_end == std::string_view::npos) {
      errors.Add(number, "has one column only; a word and its tag are needed");
      return;
    }
    if (!open) {
      sentences.words.emplace_back();
      sentences.tags.emplace_back();
      sentences.lines.emplace_back();
      open = true;
    }
    sentences.lines.back().push_back(number);
    sentences.words.back().emplace_back(trimmed.substr(0, word_end));
    sentences.tags.back().emplace_back(trimmed.substr(tag_begin + 1));
  });
  return sentences;
}

}  // namespace

absl::StatusOr<Dataset> ReadDelimited(std::string_view text, char separator, std::string_view field) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<DelimitedRow> rows, ParseDelimited(text, separator, field));
  Dataset dataset;
  if (rows.empty()) return dataset;
  const std::vector<size_t> text_columns = FindColumns(rows[0], "text"), label_columns = FindColumns(rows[0], "label");
  const std::string header = absl::StrCat(AbslView(field), " line ", rows[0].line);
  if (text_columns.empty()) return InvalidField(header, "is no header with a column \"text\" (and \"label\"); add one");
  if (text_columns.size() > 1 || label_columns.size() > 1)
    return InvalidField(header, "names the column \"text\" or \"label\" twice; rename one");
  const size_t text_column = text_columns[0];
  const bool labelled = !label_columns.empty();
  const size_t label_column = labelled ? label_columns[0] : text_column;
  dataset.kind = labelled ? DatasetKind::kClassification : DatasetKind::kText;
  RowErrors errors;
  for (size_t i = 1; i < rows.size(); ++i) {
    const DelimitedRow& row = rows[i];
    if (row.cells.size() != rows[0].cells.size()) {
      errors.Add(row.line,
                 absl::StrCat("has ", row.cells.size(), " cells where the header has ", rows[0].cells.size()));
    } else if (tagging::TrimWhiteSpace(row.cells[text_column]).empty()) {
      errors.Add(row.line, "has no text");
    } else if (labelled && tagging::TrimWhiteSpace(row.cells[label_column]).empty()) {
      errors.Add(row.line, "has no label");
    } else {
      dataset.texts.push_back(row.cells[text_column]);
      if (labelled) dataset.labels.push_back(row.cells[label_column]);
    }
  }
  ENGRAM_RETURN_IF_ERROR(errors.ToStatus(field));
  return dataset;
}

absl::StatusOr<Dataset> ReadConll(std::string_view text, std::string_view field) {
  RowErrors errors;
  ConllSentences sentences = SplitSentences(text, errors);
  const tagging::TagScheme scheme = tagging::DetectScheme(sentences.tags);
  Dataset dataset;
  dataset.kind = DatasetKind::kTagging;
  for (size_t i = 0; i < sentences.words.size(); ++i) {
    tagging::NormalisedTags normalised = tagging::NormaliseTags(sentences.tags[i], scheme);
    if (normalised.problem) {
      errors.Add(sentences.lines[i][normalised.problem->word], normalised.problem->message);
      continue;
    }
    TaggedSentence sentence;
    sentence.words = std::move(sentences.words[i]);
    sentence.tags = std::move(normalised.tags);
    for (const std::string& word : sentence.words)
      absl::StrAppend(&sentence.text, sentence.text.empty() ? "" : " ", word);
    dataset.sentences.push_back(std::move(sentence));
  }
  ENGRAM_RETURN_IF_ERROR(errors.ToStatus(field));
  return dataset;
}

absl::StatusOr<Dataset> ReadPlain(std::string_view text, std::string_view /*field*/) {
  Dataset dataset;
  // Empty lines separate paragraphs in many plain texts; they are no rows.
  ForEachLine(text, [&](int64_t, std::string_view line) {
    if (!tagging::TrimWhiteSpace(line).empty()) dataset.texts.emplace_back(line);
  });
  return dataset;
}

}  // namespace engram::corpus
