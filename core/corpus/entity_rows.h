#pragma once

// Entities given as spans of characters. For .cc files: this header brings nlohmann/json.

#include <string>

#include "core/corpus/dataset.h"
#include "core/corpus/reading.h"
#include "nlohmann/json.hpp"

namespace engram::corpus {

struct EntityRow {
  TaggedSentence sentence;   // the text's words, with tags in BIO2
  std::string problem;       // why there is none; empty if there is
  std::string without_word;  // entities that cover white space alone, for a note; empty if there is none
  std::string misaligned;    // entities that begin or end inside of a word, likewise
};

struct EntityRowOptions {
  bool others_named = false;  // keys beside those that are read may be left out
  SpanAlignment misaligned = SpanAlignment::kCut;
  bool unknown = false;  // of words outside of all entities nothing is known
};

// `entities`: a list of {"start", "end", "label"} (also "start_offset", "end_offset", "start_char", "end_char", "begin";
// "type", "entity", "entity_group", "tag", "class") or [start, end, label], in code points, end exclusive, that do not
// overlap. With "text" in an entity, that must be what stands there.
EntityRow TagEntities(const std::string& text, const nlohmann::json& entities, const EntityRowOptions& options);

}  // namespace engram::corpus
