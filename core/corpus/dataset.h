#pragma once

// Data sets inside Engram: what reading.h makes of the files that users have, what is checked before one is stored, and
// the form in which it is.

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
  std::vector<std::string> tags;   // BIO2, one per word
};

struct Dataset {
  DatasetKind kind = DatasetKind::kText;
  std::vector<std::string> texts;         // classification and text
  std::vector<std::string> labels;        // classification: one per text
  std::vector<TaggedSentence> sentences;  // tagging
  int64_t size() const { return static_cast<int64_t>(kind == DatasetKind::kTagging ? sentences.size() : texts.size()); }
};

// Classification: the labels; tagging: the entity types. Sorted, each once.
std::vector<std::string> DistinctLabels(const Dataset& dataset);

// Whether something can be learned from it: INVALID_ARGUMENT for one class only, or for no entity at all.
absl::Status CheckTrainingPart(const Dataset& training);
// INVALID_ARGUMENT for a further part (`which`: "test" or "validation", the field) of another kind, or with labels that
// the training part does not have (they are named).
absl::Status CheckFurtherPart(const Dataset& training, const Dataset& part, std::string_view which);

// The form in which data sets are stored: JSON Lines of {"text", "label"}, {"text", "words", "tags"} or {"text"}. A
// function of the rows alone, so that its digest is the data set's identity.
std::string RenderCanonical(const Dataset& dataset);
// Reads that form; DATA_LOSS if it is damaged.
absl::StatusOr<Dataset> ParseCanonical(std::string_view bytes);

}  // namespace engram::corpus
