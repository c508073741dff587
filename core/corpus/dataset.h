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
// kPairs: two texts and a label. kWordTags: words with tags that make no entities (parts of speech).
enum class DatasetKind { kClassification = 1, kTagging = 2, kText = 3, kPairs = 4, kWordTags = 5 };

// Whether rows are texts, or pairs of them, with a label each.
constexpr bool HasLabels(DatasetKind kind) {
  return kind == DatasetKind::kClassification || kind == DatasetKind::kPairs;
}
// Whether rows are words with a tag each.
constexpr bool HasTags(DatasetKind kind) { return kind == DatasetKind::kTagging || kind == DatasetKind::kWordTags; }

struct TaggedSentence {
  std::string text;  // the words as they stand in the document, or joined by spaces where only words are known
  std::vector<std::string> words;  // at least one
  std::vector<std::string> tags;   // BIO2 (of kWordTags the tags as they are), one per word
};

struct Dataset {
  DatasetKind kind = DatasetKind::kText;
  std::vector<std::string> texts;         // classification, pairs and text
  std::vector<std::string> second_texts;  // pairs: one per text
  std::vector<std::string> labels;        // classification and pairs: one per text
  std::vector<TaggedSentence> sentences;  // tagging and tags of words
  int64_t size() const { return static_cast<int64_t>(HasTags(kind) ? sentences.size() : texts.size()); }
};

// Classification and pairs: the labels; tagging: the entity types; tags of words: the tags. Sorted, each once.
std::vector<std::string> DistinctLabels(const Dataset& dataset);

// Whether something can be learned from it: INVALID_ARGUMENT for one class or tag only, or for no entity at all.
absl::Status CheckTrainingPart(const Dataset& training);
// INVALID_ARGUMENT for a further part (`which`: "test" or "validation", the field) of another kind, or with labels that
// the training part does not have (they are named).
absl::Status CheckFurtherPart(const Dataset& training, const Dataset& part, std::string_view which);

// The form in which data sets are stored: JSON Lines of {"text", "label"}, {"text", "second_text", "label"}, {"text",
// "words", "tags"}, {"text", "words", "word_tags"} or {"text"}. A function of the rows alone, so that its digest is the
// data set's identity.
std::string RenderCanonical(const Dataset& dataset);
// Reads that form; DATA_LOSS if it is damaged.
absl::StatusOr<Dataset> ParseCanonical(std::string_view bytes);

}  // namespace engram::corpus
