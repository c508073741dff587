#pragma once

// Data sets inside Engram: what reading.h makes of the files that users have, what is checked before one is stored, and
// the form in which it is.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/base/streams.h"
#include "core/corpus/row_lists.h"

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

struct Dataset {
  DatasetKind kind = DatasetKind::kText;
  TextList texts;          // classification, pairs and text
  TextList second_texts;   // pairs: one per text
  NameList labels;         // classification and pairs: one per text
  SentenceList sentences;  // tagging and tags of words
  // Of each row the document that it is of, "" for none; empty where no two rows are of one.
  NameList documents;
  int64_t size() const { return static_cast<int64_t>(HasTags(kind) ? sentences.size() : texts.size()); }
};

// What a head can be made for: labels, or entity types, or tags of words.
constexpr size_t kMostLabels = 10'000;

// Classification and pairs: the labels; tagging: the entity types; tags of words: the tags. Sorted, each once.
std::vector<std::string> DistinctLabels(const Dataset& dataset);

// Leaves out the documents if no two rows share one.
void DropSingleDocuments(Dataset& dataset);

// Whether something can be learned from it: INVALID_ARGUMENT for one class or tag only, or for no entity at all.
absl::Status CheckTrainingPart(const Dataset& training);
// INVALID_ARGUMENT for a further part (`which`: "test" or "validation", the field) of another kind, or with labels that
// the training part does not have (they are named).
absl::Status CheckFurtherPart(const Dataset& training, const Dataset& part, std::string_view which);

// The form in which data sets are stored: JSON Lines of {"text", "label"}, {"text", "second_text", "label"}, {"text",
// "words", "tags"}, {"text", "words", "word_tags"} or {"text"}, with "document" where that is known. A function of the rows
// alone, so that its digest is the data set's identity.
std::string RenderCanonical(const Dataset& dataset);
// The same in pieces of some hundred KiB.
absl::Status RenderCanonical(const Dataset& dataset, const ByteSink& sink);
// Reads that form; DATA_LOSS if it is damaged.
absl::StatusOr<Dataset> ParseCanonical(std::string_view bytes);

}  // namespace engram::corpus
