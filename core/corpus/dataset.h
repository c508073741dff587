#pragma once

// Data sets as users have them, read row by row. What does not parse is reported by line number (at most 20 lines, and
// how many there are); nothing is cut or left out silently.
//
//   .jsonl, .json   {"text": "...", "label": "..."}, or {"text": "...", "entities": [{"start": 0, "end": 5, "label":
//   "person"}]} with
//                   code points, end exclusive, or {"words": [...], "tags": [...]}, or {"text": "..."} alone
//   .csv, .tsv      with a header that names "text" and, for labelled texts, "label"; quoting as in RFC 4180
//   .conll          (or .bio, .iob) word, tab or space, tag (first and last column), sentences separated
//                   by empty lines; schemes IOB1, BIO2, BIOES and BILOU
//   .txt            one text a line
// Each also with .gz behind it. A byte-order mark and CRLF are accepted.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"

namespace engram::corpus {

// In files as numbers: append only.
enum class DatasetKind { kClassification = 1, kTagging = 2, kText = 3 };

struct TaggedSentence {
  std::string text;  // the words as they stand in the document, or joined by spaces where only words are known
  std::vector<std::string> words;  // at least one
  std::vector<std::string> tags;   // BIO2, one a word
};

struct Dataset {
  DatasetKind kind = DatasetKind::kText;
  std::vector<std::string> texts;         // classification and text
  std::vector<std::string> labels;        // classification: one a text
  std::vector<TaggedSentence> sentences;  // tagging
  int64_t size() const { return static_cast<int64_t>(kind == DatasetKind::kTagging ? sentences.size() : texts.size()); }
};

struct ReadLimits {
  size_t max_bytes = size_t{1} << 30;  // after decompression
  int64_t max_rows = 10'000'000;
};

// `name`: the file's name, whose extension says the format; `field`: what errors are said about ("training", "test").
absl::StatusOr<Dataset> ParseDataset(std::string bytes, std::string_view name, std::string_view field,
                                     const ReadLimits& limits = {});

// Classification: the labels; tagging: the entity types. Sorted, each once.
std::vector<std::string> DistinctLabels(const Dataset& dataset);

// Whether something can be learned from it: INVALID_ARGUMENT for one class only, or for no entity at all.
absl::Status CheckTrainingPart(const Dataset& training);
// INVALID_ARGUMENT for a test part of another kind, or with labels that the training part does not have (they are
// named, with lines).
absl::Status CheckTestPart(const Dataset& training, const Dataset& test);

// The form in which data sets are stored: JSON Lines of {"text", "label"}, {"text", "words", "tags"} or {"text"}. A
// function of the rows alone, so that its digest is the data set's identity.
std::string RenderCanonical(const Dataset& dataset);
// Reads that form; DATA_LOSS if it is damaged.
absl::StatusOr<Dataset> ParseCanonical(std::string_view bytes);

}  // namespace engram::corpus
