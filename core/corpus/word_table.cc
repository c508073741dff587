#include "core/corpus/word_table.h"

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
#include "core/corpus/columns.h"
#include "core/corpus/delimited.h"
#include "core/corpus/lines.h"
#include "core/tagging/bio.h"
#include "core/tagging/words.h"

namespace engram::corpus {
namespace {

constexpr std::array kSentenceNames = std::to_array<std::string_view>(
    {"sentence_#", "sentence", "sentence_id", "sentence_idx", "sentence_index", "sentence_no", "sentence_nr",
     "sentence_number", "sentenceid", "sent", "sent_#", "sent_id", "sent_idx", "sentid", "sid"});

bool IsSentenceName(std::string_view name) {
  return std::find(kSentenceNames.begin(), kSentenceNames.end(), name) != kSentenceNames.end();
}
bool IsWordName(std::string_view name) { return IsWordsName(name) || name == "word" || name == "token"; }
bool IsTagName(std::string_view name) {
  return IsTagsName(name) || name == "tag" || name == "ner_tag" || name == "label" || name == "entity";
}
bool IsWordTagName(std::string_view name) { return IsPartOfSpeechName(name) || name == "pos_tag" || name == "tag"; }

std::string_view Trimmed(std::string_view cell) { return tagging::TrimWhiteSpace(cell); }

bool Blank(const DelimitedRow& row) {
  return std::all_of(row.cells.begin(), row.cells.end(), [](const std::string& cell) { return Trimmed(cell).empty(); });
}

// The line behind a row, where the next one begins unless lines between them are empty.
int64_t LineBehind(const DelimitedRow& row) {
  int64_t line = row.line + 1;
  for (const std::string& cell : row.cells) {
    for (size_t at = cell.find_first_of("\r\n"); at != std::string::npos; at = cell.find_first_of("\r\n", at)) {
      at = FindLineEnd(cell, at).next;
      ++line;
    }
  }
  return line;
}

struct WordLayout {
  char separator = ',';
  size_t word = 0, tag = 0;
  bool header = true;
  bool named = false;                             // the words' and the tags' columns by their own names, not by options
  std::optional<size_t> sentence = std::nullopt;  // empty: empty lines or rows part the sentences
};

// The only column that is the option's, or without the option of a known name. Nothing if there is none.
std::optional<size_t> ColumnOf(const std::vector<std::string>& first, const std::string& option,
                               bool (*is)(std::string_view)) {
  if (!option.empty()) {
    const std::optional<size_t> number = ColumnNumber(option);
    if (number) return *number < first.size() ? number : std::nullopt;
    const absl::StatusOr<size_t> found = FindColumn(first, option, "");
    return found.ok() ? std::optional(*found) : std::nullopt;
  }
  std::optional<size_t> found;
  for (size_t i = 0; i < first.size(); ++i) {
    if (!is(ComparableName(first[i]))) continue;
    if (found) return std::nullopt;
    found = i;
  }
  return found;
}

std::optional<WordLayout> FindLayout(const ReaderInput& input, char separator) {
  const ReadOptions& options = input.options;
  DelimitedReader reader(input.text, separator, input.field);
  DelimitedRow first;
  const absl::StatusOr<bool> read = reader.Next(first);
  if (!read.ok() || !*read) return std::nullopt;
  const auto word = ColumnOf(first.cells, options.word_column, IsWordName);
  const auto tag =
      ColumnOf(first.cells, options.tag_column, options.kind == DatasetKind::kWordTags ? IsWordTagName : IsTagName);
  if (!word || !tag || *word == *tag) return std::nullopt;
  WordLayout layout{separator, *word, *tag};
  layout.named = options.word_column.empty() && options.tag_column.empty();
  const bool by_number = ColumnNumber(options.word_column) && ColumnNumber(options.tag_column);
  layout.header = !by_number || IsWordName(ComparableName(first.cells[*word])) ||
                  IsTagName(ComparableName(first.cells[*tag])) || IsWordTagName(ComparableName(first.cells[*tag]));
  for (size_t i = 0; layout.header && i < first.cells.size() && !layout.sentence; ++i) {
    if (i != *word && i != *tag && IsSentenceName(ComparableName(first.cells[i]))) layout.sentence = i;
  }
  return separator == '\t' && !layout.sentence ? std::nullopt : std::optional(layout);
}

// visit(row) for each row of words: no header, no row that is empty. `part()` where a row that follows does not belong to
// the sentence before by its lines. Rows of another length than the first go to `visit`, too.
absl::Status ForEachRow(const ReaderInput& input, const WordLayout& layout, std::vector<Note>* notes,
                        const std::function<void(const DelimitedRow&, bool repeats_header)>& visit,
                        const std::function<void()>& part) {
  DelimitedReader reader(input.text, layout.separator, input.field);
  DelimitedRow first, row;
  int64_t line = 0;
  for (bool is_first = true;; is_first = false) {
    ENGRAM_ASSIGN_OR_RETURN(const bool more, reader.Next(row));
    if (!more) break;
    if (!is_first && row.line > line) part();
    line = LineBehind(row);
    if (is_first && layout.header) {
      first = row;
    } else if (Blank(row)) {
      part();
    } else {
      visit(row, layout.header && row.cells == first.cells);
    }
  }
  if (notes != nullptr) reader.AddNotes(*notes);
  return absl::OkStatus();
}

// What the rows say of their columns.
struct WordFacts {
  int64_t rows = 0, tags = 0, entities = 0, parts = 0;
  std::optional<size_t> runs;  // the first column whose values stand in runs and never come again
};

// Looks at the first rows alone, so that its memory is bounded.
class RunFinder {
 public:
  void Add(const std::vector<std::string>& cells) {
    constexpr int64_t kLooked = 100'000;
    if (++rows_ > kLooked) return;
    columns_.resize(std::max(columns_.size(), cells.size()));
    for (size_t i = 0; i < cells.size(); ++i) {
      Column& column = columns_[i];
      const std::string_view value = Trimmed(cells[i]);
      if (!column.in_runs) continue;
      if (value.empty() || (column.runs > 0 && value == column.last)) {
        column.repeats = column.repeats || column.runs > 0;
        continue;
      }
      ++column.runs;
      column.last = std::string(value);
      column.in_runs = column.seen.insert(std::hash<std::string_view>()(value)).second;
      if (!column.in_runs) column.seen.clear();
    }
  }
  std::optional<size_t> Find(const WordLayout& layout) const {
    for (size_t i = 0; i < columns_.size(); ++i) {
      const Column& column = columns_[i];
      if (i != layout.word && i != layout.tag && column.in_runs && column.repeats && column.runs > 1) return i;
    }
    return std::nullopt;
  }

 private:
  struct Column {
    bool in_runs = true, repeats = false;
    int64_t runs = 0;
    std::string last;
    std::set<size_t> seen;
  };
  std::vector<Column> columns_;
  int64_t rows_ = 0;
};

absl::StatusOr<WordFacts> GatherFacts(const ReaderInput& input, const WordLayout& layout) {
  WordFacts facts;
  RunFinder finder;
  ENGRAM_RETURN_IF_ERROR(ForEachRow(
      input, layout, nullptr,
      [&](const DelimitedRow& row, bool repeats_header) {
        if (repeats_header || row.cells.size() <= std::max(layout.word, layout.tag)) return;
        ++facts.rows;
        const auto tag = tagging::ParseTag(Trimmed(row.cells[layout.tag]));
        facts.tags += tag ? 1 : 0;
        facts.entities += tag && tag->prefix != 'O' ? 1 : 0;
        if (!layout.sentence) finder.Add(row.cells);
      },
      [&] { facts.parts += facts.rows > 0 ? 1 : 0; }));
  facts.runs = finder.Find(layout);
  return facts;
}

class WordTableReader {
 public:
  WordTableReader(const ReaderInput& input, const WordLayout& layout, size_t columns)
      : input_(input), layout_(layout), columns_(columns) {}

  absl::Status Read(Reading& reading) {
    ENGRAM_RETURN_IF_ERROR(ForEachRow(
        input_, layout_, &reading.notes,
        [&](const DelimitedRow& row, bool repeats_header) { Row(row, repeats_header); },
        [&] {
          if (!layout_.sentence) EndSentence();
        }));
    EndSentence();
    headers_.AddTo(reading.notes, "HEADER_REPEATED", "row(s) repeat the header and are no words",
                   ": were files joined?");
    FinishTagging(std::move(raw_), input_.options, errors_, reading);
    return errors_.ToStatus(input_.field);
  }

 private:
  void Row(const DelimitedRow& row, bool repeats_header) {
    if (repeats_header) {
      headers_.Add(row.line);
      if (input_.options.strict) errors_.Add(row.line, "repeats the header");
      return;
    }
    if (row.cells.size() != columns_) {
      errors_.Add(row.line, absl::StrCat("has ", row.cells.size(), " cells where the first row has ", columns_));
      return;
    }
    if (layout_.sentence) {
      const std::string_view sentence = Trimmed(row.cells[*layout_.sentence]);
      if (!sentence.empty() && sentence != sentence_) {
        EndSentence();
        sentence_ = sentence;
      }
    }
    const std::string_view word = Trimmed(row.cells[layout_.word]), tag = Trimmed(row.cells[layout_.tag]);
    if (word.starts_with("-DOCSTART-")) return EndSentence();
    if (word.empty()) return errors_.Add(row.line, "has no word");
    if (tag.empty()) return errors_.Add(row.line, "has no tag");
    words_.words.emplace_back(word);
    words_.tags.emplace_back(tag);
    lines_.push_back(row.line);
  }

  void EndSentence() {
    if (lines_.empty()) return;
    words_.text = JoinWords(words_.words);
    if (input_.Keeps(raw_.sentences.size())) raw_.Add(words_, lines_);
    words_ = {};
    lines_.clear();
  }

  const ReaderInput& input_;
  const WordLayout layout_;
  const size_t columns_;  // of the first row
  std::string sentence_;  // value of the column of sentences
  TaggedSentence words_;  // of the sentence that is being read
  std::vector<int64_t> lines_;
  RawSentences raw_;
  RowErrors errors_;
  LineList headers_;
};

// Columns that are nothing of a word: refused, unless the user named the tags' column.
absl::Status DescribeColumns(const ReaderInput& input, const WordLayout& layout, const std::vector<std::string>& first,
                             Reading& reading) {
  std::vector<std::string> rest;
  for (size_t i = 0; i < first.size(); ++i) {
    const std::string name = layout.header ? first[i] : absl::StrCat("column ", i + 1);
    const char* role = i == layout.word ? "words" : i == layout.tag ? "tags" : "not read";
    if (layout.sentence == i) role = "sentences";
    reading.columns.emplace_back(name, role);
    const bool number = layout.header && IsNumberName(ComparableName(name));
    if (role == std::string_view("not read") && !number) rest.push_back(name);
  }
  if (rest.empty()) return absl::OkStatus();
  if (input.options.tag_column.empty()) {
    return InvalidField(input.field,
                        absl::StrCat("has columns that would not be read: ", QuotedList(rest), " beside ",
                                     QuotedList({first[layout.word], first[layout.tag]}),
                                     "; name the tags' column with --tag-column and the others are left out"));
  }
  reading.notes.push_back({"COLUMNS_NOT_READ", absl::StrCat("not read, as asked for: ", QuotedList(rest)),
                           static_cast<int64_t>(rest.size())});
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<bool> ReadWordTable(const ReaderInput& input, char promised, Reading& reading) {
  const ReadOptions& options = input.options;
  const DatasetKind kind = options.kind.value_or(DatasetKind::kTagging);
  if (!HasTags(kind) || !options.text_column.empty() || !options.label_column.empty() || !options.pair_column.empty())
    return false;
  std::optional<WordLayout> layout = FindLayout(input, promised);
  for (const char separator : {',', ';', '\t', '|'}) {
    if (!layout) layout = FindLayout(input, separator);
  }
  if (!layout) return false;
  const absl::StatusOr<WordFacts> facts = GatherFacts(input, *layout);
  // A table that does not parse is refused by the reader that it is for.
  if (!facts.ok() && layout->named) return false;
  ENGRAM_RETURN_IF_ERROR(facts.status());
  const bool tags = facts->entities > 0 && facts->tags * 10 >= facts->rows * 9;
  if (layout->named && kind == DatasetKind::kTagging && !tags) return false;
  if (!layout->sentence) layout->sentence = facts->runs;
  if (!layout->sentence && facts->parts == 0) {
    return InvalidField(input.field,
                        "has one word in each row, and nothing that tells where a sentence begins; give it a column "
                        "sentence_id, or an empty line between sentences");
  }
  DelimitedReader reader(input.text, layout->separator, input.field);
  DelimitedRow first;
  ENGRAM_RETURN_IF_ERROR(reader.Next(first).status());
  reading.format = layout->separator == '\t' ? "tsv" : "csv";
  reading.notes.push_back({"FORMAT", "the rows are words with their tags and were read so"});
  ENGRAM_RETURN_IF_ERROR(DescribeColumns(input, *layout, first.cells, reading));
  ENGRAM_RETURN_IF_ERROR(WordTableReader(input, *layout, first.cells.size()).Read(reading));
  return true;
}

}  // namespace engram::corpus
