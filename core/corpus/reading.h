#pragma once

// Data sets as users have them, read row by row. What does not parse is refused by line number (at most 20 lines, and
// how many there are). No annotation is lost in silence: a column or key beside the text is read, is the number of a
// row (id, index), is named by an option, or the file is refused with the columns that it has and the option that
// helps. What was read and is odd comes back as notes. docs/datasets.md is the table of what is recognised.
//
//   .jsonl, .json   one object per line, or one list of objects: {"text", "label"}, {"text", "entities": [{"start",
//                   "end", "label"}]} with code points and end exclusive, {"words", "tags"}, or {"text"} alone
//   .csv, .tsv      a table with a header; or words and tags
//   .conll          (.bio, .iob) columns of words and tags, sentences separated by empty lines
//   .txt            one text per line; or any of the above, where its lines leave no doubt
// Each also with .gz behind it; UTF-8 or UTF-16, any line ends, with or without a byte-order mark.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/corpus/dataset.h"
#include "core/corpus/notes.h"

namespace engram::corpus {

struct ReadLimits {
  size_t max_bytes = size_t{1} << 30;  // after decompression, and as UTF-8
  int64_t max_rows = 10'000'000;
};

// What becomes of entities that begin or end inside of a word. White space at their ends is none of their words.
enum class SpanAlignment {
  kCut,     // the word is cut in two there
  kStrict,  // the row is refused
  kContract,  // the words that lie inside of it whole; without any it is left out. Words that it covers in part are unknown
  kExpand,  // all words that it touches; of two that then share one the first stands, the other's words are unknown
};

// What the user says about a file; empty: to be recognised.
struct ReadOptions {
  // "jsonl", "csv", "tsv", "conll", "txt" or "fasttext": over the file's name, and nothing else is tried.
  std::string format;
  // What the rows become. With it named, annotations of another kind are left out (a note says so).
  std::optional<DatasetKind> kind;
  // Names of columns or keys, in any case; or a column's number from 1, where the file has no header. With the label's
  // or the tags' column named, other columns are left out (a note says so).
  std::string text_column, label_column, word_column, tag_column;
  // The same of the second text of each row: named, or known by its name beside the first one's, rows are pairs.
  std::string pair_column;
  // Refuse what would be repaired: tags out of their scheme, repeated headers, entities that cover no word.
  bool strict = false;
  SpanAlignment misaligned = SpanAlignment::kCut;
};

struct Reading {
  Dataset dataset;
  std::string format;  // as it was read: one of ReadOptions::format
  // Column or key (or "column 2") and what it was read as: "text", "second text", "label", "words", "tags", "entities", "not read".
  std::vector<std::pair<std::string, std::string>> columns;
  std::vector<Note> notes;
};

// `name`: the file's name, whose extension says the format; `field`: what errors are said about ("training", "test").
// INVALID_ARGUMENT for what does not parse and for options that do not fit; RESOURCE_EXHAUSTED past max_bytes while
// inflating.
absl::StatusOr<Reading> ReadDataset(std::string bytes, std::string_view name, std::string_view field,
                                    const ReadOptions& options = {}, const ReadLimits& limits = {});

// What is odd about labels and rows: labels that differ in case or spaces alone, that read "nan", that are more than a
// tenth of the rows; one text under two labels.
std::vector<Note> OddRows(const Dataset& dataset);
// Texts of a further part (`which`: "test" or "validation") that also stand in `training`: TEST_IN_TRAINING or
// VALIDATION_IN_TRAINING.
std::vector<Note> SharedRows(const Dataset& training, const Dataset& part, std::string_view which);

// How often each label or tag occurs, or how many entities each type has (tagging), in DistinctLabels' order.
std::vector<std::pair<std::string, int64_t>> CountLabels(const Dataset& dataset);

}  // namespace engram::corpus
