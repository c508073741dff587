#pragma once

// Entities given as spans of characters. For .cc files: this header brings nlohmann/json.

#include <string>

#include "core/corpus/dataset.h"
#include "nlohmann/json.hpp"

namespace engram::corpus {

struct EntityRow {
  TaggedSentence sentence;   // the text's words, with tags in BIO2
  std::string problem;       // why there is none; empty if there is
  std::string without_word;  // entities that cover white space alone, for a note; empty if there is none
};

// `entities`: a list of {"start", "end", "label"} (also "start_offset", "end_offset", "start_char", "end_char", "begin";
// "type", "entity", "entity_group", "tag", "class") or [start, end, label], in code points, end exclusive, that do not
// overlap. With "text" in an entity, that must be what stands there. `others_named`: keys beside these may be left out.
EntityRow TagEntities(const std::string& text, const nlohmann::json& entities, bool others_named);

}  // namespace engram::corpus
