#pragma once

// Which column of a table, or key of a JSON object, is what: by its name, or as the user says.

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/status.h"

namespace engram::corpus {

// A name as it is compared: without white space at its ends, lower case (ASCII), "_" for "-" and spaces.
std::string ComparableName(std::string_view name);

// Of comparable names. The sets are disjoint but for "labels" and "tags", which may also be tags of words.
bool IsTextName(std::string_view name);      // "text", "sentence", ...; of pairs of texts: "premise", "sentence2", ...
bool IsLabelName(std::string_view name);     // "label", "category", "intent", ...
bool IsNumberName(std::string_view name);    // the row's own number or name: "id", "index", "unnamed:_0", ""
bool IsWordsName(std::string_view name);     // "words", "tokens"
bool IsTagsName(std::string_view name);      // "tags", "ner_tags", ...
bool IsEntitiesName(std::string_view name);  // "entities", "spans"
bool IsPartOfSpeechName(std::string_view name);  // "pos_tags", "upos", ...

// What of a row's columns or keys, given as they stand there, are its texts: those that IsTextName knows, and those of
// pairs ("premise" and "hypothesis", "question" and "answer", ...) of which both are there.
struct TextNames {
  std::vector<std::string> all;
  // They are the two of one pair, no more: the first and the second.
  std::optional<std::pair<std::string, std::string>> pair;
};
TextNames FindTextNames(const std::vector<std::string>& names);
// What helps where there are several texts: "has several texts: ...".
std::string SeveralTexts(const TextNames& texts);

// "2" -> 1. nullopt for what is no number from 1 to 10,000.
std::optional<size_t> ColumnNumber(std::string_view name);

// "\"a\", \"b\" and 3 more", for errors. At most 20.
std::string QuotedList(const std::vector<std::string>& names);

// The place of the only column of that name. INVALID_ARGUMENT (field `option`) if none or several have it, with the
// names that there are.
absl::StatusOr<size_t> FindColumn(const std::vector<std::string>& columns, std::string_view name,
                                  std::string_view option);

}  // namespace engram::corpus
