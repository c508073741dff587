#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
#include "core/corpus/columns.h"
#include "core/corpus/conll_lines.h"
#include "core/corpus/readers.h"
#include "core/tagging/bio.h"

namespace engram::corpus {
namespace {

using Columns = std::vector<std::string_view>;

std::string_view WithoutSpaces(std::string_view cell) {
  const size_t begin = cell.find_first_not_of(' ');
  return begin == std::string_view::npos ? std::string_view()
                                         : cell.substr(begin, cell.find_last_not_of(' ') + 1 - begin);
}

bool IsTag(std::string_view cell) { return tagging::ParseTag(WithoutSpaces(cell)).has_value(); }

// CoNLL-U has ten columns: number, word, lemma, universal and other part of speech, ...
constexpr size_t kConlluColumns = 10, kConlluTag = 3;

// A line of CoNLL-U that is no word: a token that its words follow ("1-2  del"), or one that is not written ("8.1").
bool IsConlluRange(const Columns& columns) {
  if (columns.size() != kConlluColumns) return false;
  const size_t between = columns[0].find_first_not_of("0123456789");
  return between != std::string_view::npos && between > 0 &&
         (columns[0][between] == '-' || columns[0][between] == '.') && between + 1 < columns[0].size() &&
         columns[0].find_first_not_of("0123456789", between + 1) == std::string_view::npos;
}

// The number of columns that most lines have; comments count only where there is nothing else.
size_t CommonColumns(std::string_view text) {
  std::map<size_t, int64_t> counts, comments;
  Columns columns;
  ForEachLine(text, [&](int64_t, std::string_view line) {
    if (IsConllBreak(line)) return;
    SplitConllColumns(line, columns);
    ++(line.starts_with('#') ? comments : counts)[columns.size()];
  });
  const auto& all = counts.empty() ? comments : counts;
  const auto most =
      std::max_element(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == all.end() ? 0 : most->first;
}

// What the lines with the common number of columns say about one column.
struct ColumnFacts {
  int64_t tags = 0, entities = 0;
  int64_t first_number = 1;   // of the sentence that is looked at
  bool numbers_words = true;  // 1, 2, 3, ... (or from 0) in every sentence
  bool repeats = true;        // one value throughout each sentence: a document's name, or its part
};

struct FileFacts {
  std::vector<ColumnFacts> columns;
  std::vector<std::string> first;  // cells of the first line
  int64_t lines = 0;
  bool several_words = false;  // in some sentence
  bool tabs = false;           // columns are separated by tabs
  // What says which word it is, or of which document, and is none itself.
  bool NoWord(size_t column) const {
    return lines > 1 && (columns[column].numbers_words || (several_words && columns[column].repeats));
  }
  // A column of tags, in which some may be misspelt; the first line may be a header.
  bool TagLike(size_t column) const {
    return columns[column].entities > 0 && columns[column].tags * 10 >= (lines - 1) * 9;
  }
};

FileFacts GatherFacts(std::string_view text, size_t common) {
  FileFacts facts;
  facts.tabs = text.find('\t') != std::string_view::npos;
  facts.columns.resize(common);
  int64_t place = 0;  // of the word in its sentence
  Columns columns, before;
  ForEachLine(text, [&](int64_t, std::string_view line) {
    if (IsConllBreak(line)) {
      place = 0;
      return;
    }
    SplitConllColumns(line, columns);
    if (columns.size() != common || IsConlluRange(columns)) return;
    // A comment with as many words as there are columns.
    if (line.starts_with('#') && facts.tabs && line.find('\t') == std::string_view::npos) return;
    if (facts.lines == 0) facts.first.assign(columns.begin(), columns.end());
    // "#" may be a word, and a comment may have as many columns: such a line tells nothing.
    if (line.starts_with('#')) {
      ++place;
      return;
    }
    ++facts.lines;
    if (place > 0) facts.several_words = true;
    for (size_t i = 0; i < common; ++i) {
      ColumnFacts& column = facts.columns[i];
      const auto tag = tagging::ParseTag(WithoutSpaces(columns[i]));
      column.tags += tag ? 1 : 0;
      column.entities += tag && tag->prefix != 'O' ? 1 : 0;
      if (place == 0) column.first_number = columns[i] == "0" ? 0 : 1;
      column.numbers_words = column.numbers_words && columns[i] == absl::StrCat(place + column.first_number);
      column.repeats = column.repeats && (place == 0 || before.size() != common || columns[i] == before[i]);
    }
    before = columns;
    ++place;
  });
  return facts;
}

struct Layout {
  size_t columns = 0, word = 0, tag = 0;
  bool header = false;
  bool word_tags = false;  // any text is a tag
  bool tabs = false;
};

std::string ColumnText(size_t column) { return absl::StrCat("column ", column + 1); }

// A column that the user named: by its number, or by its name in the first line.
absl::StatusOr<size_t> NamedColumn(const FileFacts& facts, const std::string& name, std::string_view option,
                                   bool& header) {
  const std::optional<size_t> number = ColumnNumber(name);
  if (number && *number < facts.columns.size()) return *number;
  if (number)
    return InvalidField(option, absl::StrCat("there is no column ", name, "; lines have ", facts.columns.size()));
  absl::StatusOr<size_t> found = FindColumn(facts.first, name, option);
  header = header || found.ok();
  return found;
}

// Where tags that make no entities stand: where CoNLL-U has them, where the first line names them, else last.
size_t WordTagColumn(const FileFacts& facts) {
  if (facts.columns.size() == kConlluColumns && facts.NoWord(0)) return kConlluTag;
  for (size_t i = 0; i < facts.first.size(); ++i) {
    if (IsPartOfSpeechName(ComparableName(facts.first[i]))) return i;
  }
  return facts.columns.size() - 1;
}

absl::StatusOr<Layout> PlanLayout(const FileFacts& facts, const ReaderInput& input, std::vector<Note>& notes) {
  Layout layout{facts.columns.size(), 0, facts.columns.size() - 1};
  layout.tabs = facts.tabs;
  std::vector<std::string> tag_like;
  for (size_t i = 1; i < layout.columns; ++i) {
    if (!facts.TagLike(i)) continue;
    tag_like.push_back(ColumnText(i));
    layout.tag = i;
  }
  if (tag_like.empty() && facts.TagLike(0)) layout.tag = 0;
  const bool word_tags = layout.word_tags = input.options.kind == DatasetKind::kWordTags;
  if (word_tags) layout.tag = WordTagColumn(facts);
  if (!input.options.tag_column.empty()) {
    ENGRAM_ASSIGN_OR_RETURN(layout.tag, NamedColumn(facts, input.options.tag_column, "tag_column", layout.header));
  } else if (tag_like.size() > 1 && !word_tags) {
    notes.push_back({"SEVERAL_TAG_COLUMNS",
                     absl::StrCat("several columns look like tags (", QuotedList(tag_like), "); ",
                                  ColumnText(layout.tag), " was read: choose another one with --tag-column"),
                     static_cast<int64_t>(tag_like.size())});
  }
  if (!input.options.word_column.empty()) {
    ENGRAM_ASSIGN_OR_RETURN(layout.word, NamedColumn(facts, input.options.word_column, "word_column", layout.header));
  } else if (layout.tag == 0) {
    layout.word = 1;
    notes.push_back({"TAGS_FIRST",
                     "column 1 holds the tags, so column 2 was read as the words: choose others with --word-column and "
                     "--tag-column"});
  } else {
    while (layout.word < layout.tag && facts.NoWord(layout.word)) ++layout.word;
    if (layout.word == layout.tag) layout.word = 0;
    if (layout.word > 0) {
      notes.push_back({"INDEX_COLUMN", absl::StrCat("what stands before ", ColumnText(layout.word),
                                                    " numbers the words or is the same throughout each sentence, so ",
                                                    ColumnText(layout.word),
                                                    " was read as the words: choose another one with "
                                                    "--word-column")});
    }
  }
  if (layout.word == layout.tag) return InvalidField("tag_column", "is the column of the words too");
  const bool named =
      layout.tag < facts.first.size() && !IsTag(facts.first[layout.tag]) &&
      (IsTagsName(ComparableName(facts.first[layout.tag])) || IsLabelName(ComparableName(facts.first[layout.tag])) ||
       (word_tags && IsPartOfSpeechName(ComparableName(facts.first[layout.tag]))));
  layout.header = layout.header || named;
  return layout;
}

class ConllReader {
 public:
  ConllReader(const ReaderInput& input, const Layout& layout) : input_(input), layout_(layout) {}

  absl::Status Read(Reading& reading) {
    ForEachLine(input_.text, [&](int64_t number, std::string_view line) { Line(number, line); });
    EndSentence();
    comments_.AddTo(reading.notes, "COMMENTS", "comment line(s) were left out");
    ranges_.AddTo(reading.notes, "TOKENS_OF_WORDS",
                  "line(s) of CoNLL-U are a token whose words have their own lines, or "
                  "one that is not written; they were left out");
    headers_.AddTo(reading.notes, "HEADER_REPEATED", "line(s) repeat the header and are no words",
                   ": were files joined?");
    FinishTagging(std::move(raw_), input_.options, errors_, reading);
    reading.dataset.documents = std::move(documents_);
    DropSingleDocuments(reading.dataset);
    return errors_.ToStatus(input_.field);
  }

 private:
  void Line(int64_t number, std::string_view line) {
    if (IsConllBreak(line)) {
      EndSentence();
      document_ += BeginsConllDocument(line) ? 1 : 0;
      return;
    }
    SplitConllColumns(line, columns_);
    if (layout_.columns == kConlluColumns && IsConlluRange(columns_)) {
      ranges_.Add(number);
      return;
    }
    // A space at the beginning of a line that lacks a column is the word.
    if (columns_.size() + 1 == layout_.columns && line.starts_with(' ')) columns_.insert(columns_.begin(), " ");
    const bool fits = columns_.size() == layout_.columns;
    const bool separated = !layout_.tabs || line.find('\t') != std::string_view::npos;
    const bool tagged = fits && (layout_.word_tags ? separated : IsTag(columns_[layout_.tag]));
    if (line.starts_with('#') && !tagged) {
      comments_.Add(number);
      return;
    }
    if (layout_.header && header_.empty()) {
      header_ = line;
      return;
    }
    if (layout_.header && line == header_) {
      headers_.Add(number);
      if (input_.options.strict) errors_.Add(number, "repeats the header");
      return;
    }
    if (!fits || layout_.columns < 2) {
      errors_.Add(number, columns_.size() < 2 ? std::string("has one column only; a word and its tag are needed")
                                              : absl::StrCat("has ", columns_.size(), " columns where most lines have ",
                                                             layout_.columns));
      return;
    }
    const std::string_view cell = columns_[layout_.word], word = WithoutSpaces(cell);
    // A token of white space stays one, so that the tags keep their places.
    sentence_.words.emplace_back(!word.empty() ? word : cell.empty() ? " " : cell);
    sentence_.tags.emplace_back(WithoutSpaces(columns_[layout_.tag]));
    lines_.push_back(number);
  }

  void EndSentence() {
    if (lines_.empty()) return;
    sentence_.text = JoinWords(sentence_.words);
    if (input_.Keeps(raw_.sentences.size())) {
      raw_.Add(sentence_, lines_);
      documents_.push_back(document_ == 0 ? "" : absl::StrCat(document_));
    }
    sentence_ = {};
    lines_.clear();
  }

  const ReaderInput& input_;
  const Layout layout_;
  Columns columns_;
  TaggedSentence sentence_;     // that is being read
  std::vector<int64_t> lines_;  // of its words
  RawSentences raw_;
  RowErrors errors_;
  LineList comments_, headers_, ranges_;
  std::string_view header_;
  int64_t document_ = 0;  // that the line is of, from 1; 0: none has begun
  NameList documents_;    // of the sentences that are kept
};

}  // namespace

absl::Status ReadConll(const ReaderInput& input, Reading& reading) {
  reading.format = "conll";
  const size_t common = CommonColumns(input.text);
  Layout layout{common, 0, 0};
  if (common >= 2) {
    const FileFacts facts = GatherFacts(input.text, common);
    ENGRAM_ASSIGN_OR_RETURN(layout, PlanLayout(facts, input, reading.notes));
    for (size_t i = 0; i < common; ++i) {
      reading.columns.emplace_back(ColumnText(i), i == layout.word ? "words" : i == layout.tag ? "tags" : "not read");
    }
  }
  return ConllReader(input, layout).Read(reading);
}

}  // namespace engram::corpus
