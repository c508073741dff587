#pragma once

// Which keys of a JSON row are what. For .cc files: this header brings nlohmann/json.

#include <string>
#include <vector>

#include "core/corpus/dataset.h"
#include "core/corpus/reading.h"
#include "nlohmann/json.hpp"

namespace engram::corpus {

// Names of keys; empty where there is none.
struct JsonRoles {
  DatasetKind kind = DatasetKind::kText;
  std::string text, second_text, label, words, tags, entities;
  // What is known of the words outside of the entities, and the document that the row is of. Rows may differ in these.
  std::string other_words, document;
  std::vector<std::string> unread;  // keys that an option leaves out
  std::string problem;              // why the row cannot be read; empty if it can

  // What must be the same in all rows of a file. A text beside words may be there or not.
  bool SameAnnotation(const JsonRoles& other) const {
    return kind == other.kind && label == other.label && words == other.words && tags == other.tags &&
           entities == other.entities && second_text == other.second_text &&
           (text == other.text || text.empty() || other.text.empty());
  }
};

// A function of the row's keys and of what kinds of values they have, not of the values.
JsonRoles FindRoles(const nlohmann::json& row, const ReadOptions& options);
// Rows with the same signature have the same roles.
std::string RoleSignature(const nlohmann::json& row);

}  // namespace engram::corpus
