#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
#include "core/corpus/columns.h"
#include "core/corpus/delimited.h"
#include "core/corpus/lines.h"
#include "core/corpus/readers.h"
#include "core/tagging/bio.h"
#include "core/tagging/words.h"

namespace engram::corpus {
namespace {

constexpr const char* kUnnamedHelp =
    "has text in a column that the header does not name; name the columns, or leave it out with --label-column or "
    "--kind text";
constexpr const char* kHelp =
    "name the columns with --text-column and --label-column, a second text's with --pair-column (by their numbers, "
    "from 1, "
    "if the file has no header)";

// Which columns of a table are what.
struct TableLayout {
  size_t text = 0;
  std::optional<size_t> pair;  // the second text
  std::optional<size_t> label;
  bool header = true;               // the first row is one
  std::vector<std::string> unread;  // columns that an option leaves out
  std::vector<size_t> unnamed;      // columns whose header is empty: numbers of rows, or nothing
  bool rest_is_named = false;       // an option says what of the other columns is to be left out
};

// The columns of the header of which `is` holds.
std::vector<size_t> ColumnsThat(const std::vector<std::string>& header, bool (*is)(std::string_view)) {
  std::vector<size_t> columns;
  for (size_t i = 0; i < header.size(); ++i) {
    if (is(ComparableName(header[i]))) columns.push_back(i);
  }
  return columns;
}

size_t PlaceOf(const std::vector<std::string>& header, const std::string& name) {
  return static_cast<size_t>(std::find(header.begin(), header.end(), name) - header.begin());
}

std::vector<std::string> NamesOf(const std::vector<std::string>& header, const std::vector<size_t>& columns) {
  std::vector<std::string> names;
  for (const size_t column : columns) names.push_back(header[column]);
  return names;
}

bool IsWordName(std::string_view name) { return IsWordsName(name) || name == "word" || name == "token"; }

class LayoutPlanner {
 public:
  LayoutPlanner(const DelimitedRow& first, const ReaderInput& input) : first_(first.cells), input_(input) {
    where_ = absl::StrCat(AbslView(input.field), " line ", first.line);
  }

  absl::StatusOr<TableLayout> Plan() {
    const ReadOptions& options = input_.options;
    ENGRAM_RETURN_IF_ERROR(FindText());
    const bool text_alone = options.kind == DatasetKind::kText && options.label_column.empty();
    if (!text_alone) ENGRAM_RETURN_IF_ERROR(FindLabel());
    if (layout_.pair && !layout_.label) {
      return InvalidField(
          where_,
          absl::StrCat("has pairs of texts (", QuotedList({first_[layout_.text], first_[*layout_.pair]}),
                       ") and no column of labels that is known by its name; its columns are ", QuotedList(first_),
                       ": name the labels' with --label-column, or one text with --text-column"));
    }
    layout_.header = !by_number_ || (by_name_ || HeaderByName());
    layout_.rest_is_named = text_alone || !options.label_column.empty();
    std::vector<std::string> rest;
    for (size_t i = 0; i < first_.size(); ++i) {
      if (i == layout_.text || layout_.label == i || layout_.pair == i) continue;
      const std::string name = layout_.header ? first_[i] : absl::StrCat("column ", i + 1);
      if (!layout_.header || !IsNumberName(ComparableName(name))) rest.push_back(name);
      if (layout_.header && ComparableName(name).empty()) layout_.unnamed.push_back(i);
    }
    if (!rest.empty() && !layout_.rest_is_named) {
      return InvalidField(
          where_, absl::StrCat("has columns that would not be read: ", QuotedList(rest), " beside ",
                               QuotedList({first_[layout_.text]}),
                               layout_.label ? absl::StrCat(" and ", QuotedList({first_[*layout_.label]})) : "",
                               "; name the label's column with --label-column and the others are left out, or leave "
                               "all of them out with --kind text"));
    }
    layout_.unread = std::move(rest);
    return std::move(layout_);
  }

 private:
  absl::Status FindText() {
    const ReadOptions& options = input_.options;
    if (!options.pair_column.empty()) {
      ENGRAM_ASSIGN_OR_RETURN(layout_.pair, Named(options.pair_column, "pair_column"));
    }
    if (!options.text_column.empty()) {
      ENGRAM_ASSIGN_OR_RETURN(layout_.text, Named(options.text_column, "text_column"));
      if (layout_.pair == layout_.text) return InvalidField("pair_column", "is the column of the first texts too");
      return absl::OkStatus();
    }
    std::vector<std::string> names = first_;
    if (layout_.pair) names.erase(names.begin() + static_cast<std::ptrdiff_t>(*layout_.pair));
    TextNames texts = FindTextNames(names);
    std::erase_if(texts.all, [&](const std::string& name) {
      return ComparableName(name) == ComparableName(options.label_column) && !texts.pair;
    });
    if (texts.all.empty()) return NoText();
    ENGRAM_RETURN_IF_ERROR(NotTwice(ColumnsThat(first_, IsTextName)));
    by_name_ = true;
    // A kind of single texts asks for one of the two.
    const bool pairs = texts.pair && !layout_.pair && options.kind.value_or(DatasetKind::kPairs) == DatasetKind::kPairs;
    if (texts.all.size() > 1 && !pairs) return InvalidField(where_, SeveralTexts(texts));
    layout_.text = PlaceOf(first_, pairs ? texts.pair->first : texts.all[0]);
    if (pairs) layout_.pair = PlaceOf(first_, texts.pair->second);
    return absl::OkStatus();
  }

  absl::Status NoText() const {
    if (!ColumnsThat(first_, IsWordName).empty()) {
      return InvalidField(where_, absl::StrCat("has a column of words (its columns are ", QuotedList(first_),
                                               "); one word and its tag in each row are read where --word-column and "
                                               "--tag-column name them, or from .conll: a word, a tab and its tag per "
                                               "line, an empty line between sentences; lists of words in a cell are "
                                               "not read from a table: write JSON Lines of {\"words\", \"tags\"} "
                                               "(pandas: to_json with orient=\"records\", lines=True)"));
    }
    return InvalidField(where_, absl::StrCat("is no header with a column of texts that is known by its name (text, "
                                             "sentence, ...); its columns are ",
                                             QuotedList(first_), "; ", kHelp));
  }

  absl::Status FindLabel() {
    if (!input_.options.label_column.empty()) {
      ENGRAM_ASSIGN_OR_RETURN(const size_t label, Named(input_.options.label_column, "label_column"));
      if (label == layout_.text || layout_.pair == label)
        return InvalidField("label_column", "is a column of texts too");
      layout_.label = label;
      return absl::OkStatus();
    }
    std::vector<size_t> labels = ColumnsThat(first_, IsLabelName);
    std::erase_if(labels, [&](size_t i) { return i == layout_.text || layout_.pair == i; });
    ENGRAM_RETURN_IF_ERROR(NotTwice(labels));
    if (labels.size() > 1) {
      return InvalidField(where_, absl::StrCat("has several columns of labels: ", QuotedList(NamesOf(first_, labels)),
                                               "; name one with --label-column"));
    }
    if (!labels.empty()) layout_.label = labels[0];
    return absl::OkStatus();
  }

  // A number is a place, but where the first row is 0, 1, 2, ..., as pandas names columns without names.
  absl::StatusOr<size_t> Named(const std::string& name, std::string_view option) {
    const std::optional<size_t> number = ColumnNumber(name);
    if (!number || NumbersColumns()) {
      by_name_ = true;
      return FindColumn(first_, name, option);
    }
    by_number_ = true;
    if (*number < first_.size()) return *number;
    return InvalidField(option, absl::StrCat("there is no column ", name, "; rows have ", first_.size()));
  }

  bool NumbersColumns() const {
    for (size_t i = 0; i < first_.size(); ++i) {
      if (first_[i] != absl::StrCat(i)) return false;
    }
    return true;
  }

  // Columns were given by number, but the first row names them.
  bool HeaderByName() const {
    return IsTextName(ComparableName(first_[layout_.text])) ||
           (layout_.label && IsLabelName(ComparableName(first_[*layout_.label])));
  }

  absl::Status NotTwice(const std::vector<size_t>& columns) const {
    for (size_t i = 1; i < columns.size(); ++i) {
      if (ComparableName(first_[columns[i]]) == ComparableName(first_[columns[i - 1]])) {
        return InvalidField(where_,
                            absl::StrCat("names the column ", QuotedList({first_[columns[i]]}), " twice; rename one"));
      }
    }
    return absl::OkStatus();
  }

  const std::vector<std::string>& first_;
  const ReaderInput& input_;
  std::string where_;
  TableLayout layout_;
  bool by_name_ = false, by_number_ = false;
};

// How many cells the first rows have, if all have as many; else 1.
size_t CommonCells(const ReaderInput& input, char separator) {
  constexpr int kLooked = 100;
  DelimitedReader reader(input.text, separator, input.field);
  DelimitedRow row;
  size_t cells = 0;
  for (int i = 0; i < kLooked; ++i) {
    const absl::StatusOr<bool> read = reader.Next(row);
    if (!read.ok()) return 1;
    if (!*read) break;
    if (cells > 0 && row.cells.size() != cells) return 1;
    cells = row.cells.size();
  }
  return cells;
}

// The separator under which the first row has a column of texts: what the file's name promises, or another one.
std::optional<char> ChooseSeparator(const ReaderInput& input, char promised) {
  const std::string& asked = input.options.text_column;
  const bool by_number = ColumnNumber(asked).has_value();
  const auto known = [&](char separator) {
    DelimitedReader reader(input.text, separator, input.field);
    DelimitedRow first;
    const absl::StatusOr<bool> read = reader.Next(first);
    if (!read.ok() || !*read) return false;
    if (!asked.empty() && !by_number) return FindColumn(first.cells, asked, "text_column").ok();
    return !FindTextNames(first.cells).all.empty();
  };
  constexpr std::array kOthers = {',', ';', '\t', '|'};
  // Columns by number: no name can tell, but all rows have as many.
  if (by_number && CommonCells(input, promised) > 1) return promised;
  for (const char separator : kOthers) {
    if (by_number && CommonCells(input, separator) > 1) return separator;
  }
  if (known(promised)) return promised;
  for (const char separator : kOthers) {
    if (known(separator)) return separator;
  }
  return std::nullopt;
}

void DescribeColumns(const DelimitedRow& first, const TableLayout& layout, Reading& reading) {
  for (size_t i = 0; i < first.cells.size(); ++i) {
    reading.columns.emplace_back(layout.header ? first.cells[i] : absl::StrCat("column ", i + 1),
                                 i == layout.text    ? "text"
                                 : layout.pair == i  ? "second text"
                                 : layout.label == i ? "label"
                                                     : "not read");
  }
  if (!layout.unread.empty()) {
    reading.notes.push_back({"COLUMNS_NOT_READ", absl::StrCat("not read, as asked for: ", QuotedList(layout.unread)),
                             static_cast<int64_t>(layout.unread.size())});
  }
}

// Excel's first line "sep=;" says the separator and is no row.
bool TakeSeparatorLine(std::string_view& text, char& separator) {
  constexpr std::string_view kLead = "sep=";
  const LineEnd end = FindLineEnd(text, 0);
  if (!text.starts_with(kLead) || end.end != kLead.size() + 1) return false;
  separator = text[kLead.size()];
  text.remove_prefix(end.next);
  return true;
}

// Whether a cell of a column without a name is more than the row's number.
bool HoldsText(const std::string& cell) {
  return tagging::TrimWhiteSpace(cell).find_first_not_of("0123456789") != std::string_view::npos;
}

// Whether a label is a tag of a word, or a list of tags: one for each word of the text.
bool IsTags(std::string_view label) {
  constexpr std::string_view kBetween = " ,[]'\"";
  bool any = false;
  for (size_t at = label.find_first_not_of(kBetween); at != std::string_view::npos;) {
    const size_t end = std::min(label.find_first_of(kBetween, at), label.size());
    if (!tagging::ParseTag(label.substr(at, end - at))) return false;
    any = true;
    at = label.find_first_not_of(kBetween, end);
  }
  return any;
}

// Labels that are all tags of words are no classifier's.
absl::Status RefuseTags(const ReaderInput& input, const Dataset& dataset) {
  if (input.options.kind == DatasetKind::kClassification || dataset.labels.empty()) return absl::OkStatus();
  const TextList& labels = dataset.labels.names();
  const bool all = std::all_of(labels.begin(), labels.end(), IsTags);
  const bool any = std::any_of(labels.begin(), labels.end(),
                               [](std::string_view label) { return label.find('-') != std::string_view::npos; });
  if (!all || !any) return absl::OkStatus();
  return InvalidField(
      input.field,
      absl::StrCat("has labels that are tags of words (", Quoted(dataset.labels[0]),
                   " in the first row); write words and tags as .conll or as JSON Lines of {\"words\", \"tags\"}, or "
                   "say with --kind classification that they are labels of texts"));
}

// The rows behind `row`, which is the first that is no header.
absl::Status ReadRows(const ReaderInput& input, const TableLayout& layout, const DelimitedRow& first,
                      DelimitedReader& rows, Reading& reading) {
  Dataset& dataset = reading.dataset;
  dataset.kind = layout.pair ? DatasetKind::kPairs : layout.label ? DatasetKind::kClassification : DatasetKind::kText;
  RowErrors errors;
  LineList headers, unnamed;
  DelimitedRow row = first;
  bool more = true, is_header = layout.header;
  while (more) {
    if (is_header) {
      is_header = false;
    } else if (layout.header && row.cells == first.cells) {
      headers.Add(row.line);
      if (input.options.strict) errors.Add(row.line, "repeats the header");
    } else if (row.cells.size() != first.cells.size()) {
      errors.Add(row.line, absl::StrCat("has ", row.cells.size(), " cells where the header has ", first.cells.size()));
    } else if (tagging::TrimWhiteSpace(row.cells[layout.text]).empty()) {
      errors.Add(row.line, layout.pair ? "has no first text" : "has no text");
    } else if (layout.pair && tagging::TrimWhiteSpace(row.cells[*layout.pair]).empty()) {
      errors.Add(row.line, "has no second text");
    } else if (layout.label && tagging::TrimWhiteSpace(row.cells[*layout.label]).empty()) {
      errors.Add(row.line, "has no label");
    } else {
      if (std::any_of(layout.unnamed.begin(), layout.unnamed.end(),
                      [&](size_t column) { return HoldsText(row.cells[column]); })) {
        unnamed.Add(row.line);
        if (!layout.rest_is_named) errors.Add(row.line, kUnnamedHelp);
      }
      if (input.Keeps(dataset.texts.size())) {
        dataset.texts.push_back(row.cells[layout.text]);
        if (layout.pair) dataset.second_texts.push_back(row.cells[*layout.pair]);
        if (layout.label) dataset.labels.push_back(row.cells[*layout.label]);
      }
    }
    ENGRAM_ASSIGN_OR_RETURN(more, rows.Next(row));
  }
  headers.AddTo(reading.notes, "HEADER_REPEATED", "row(s) repeat the header and are no rows", ": were files joined?");
  unnamed.AddTo(reading.notes, "COLUMNS_NOT_READ", "row(s) have text in a column without a name",
                "; it was left out, as asked for");
  ENGRAM_RETURN_IF_ERROR(errors.ToStatus(input.field));
  return RefuseTags(input, dataset);
}

}  // namespace

bool HasKnownHeader(const ReaderInput& input, char promised) { return ChooseSeparator(input, promised).has_value(); }

bool HasLabelledHeader(const ReaderInput& input, char separator) {
  DelimitedReader reader(input.text, separator, input.field);
  DelimitedRow first;
  const absl::StatusOr<bool> read = reader.Next(first);
  return read.ok() && *read && !FindTextNames(first.cells).all.empty() &&
         !ColumnsThat(first.cells, IsLabelName).empty();
}

absl::Status ReadTable(const ReaderInput& whole, char promised, Reading& reading) {
  std::string_view text = whole.text;
  const int64_t first_line = TakeSeparatorLine(text, promised) ? 2 : 1;
  const ReaderInput input{text, whole.field, whole.options, whole.max_rows};
  const char separator = ChooseSeparator(input, promised).value_or(promised);
  reading.format = separator == '\t' ? "tsv" : "csv";
  if (separator != promised) {
    reading.notes.push_back(
        {"SEPARATOR", absl::StrCat("columns are separated by \"", separator == '\t' ? "tab" : std::string(1, separator),
                                   "\" and were read so")});
  }
  DelimitedReader rows(input.text, separator, input.field, first_line);
  DelimitedRow first;
  ENGRAM_ASSIGN_OR_RETURN(const bool any, rows.Next(first));
  if (!any) return absl::OkStatus();
  ENGRAM_ASSIGN_OR_RETURN(const TableLayout layout, LayoutPlanner(first, input).Plan());
  DescribeColumns(first, layout, reading);
  ENGRAM_RETURN_IF_ERROR(ReadRows(input, layout, first, rows, reading));
  rows.AddNotes(reading.notes);
  return absl::OkStatus();
}

}  // namespace engram::corpus
