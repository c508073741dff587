#pragma once

// Entities that a tagger found and places of terms of a list, put together so that no two overlap.

#include <cstdint>
#include <vector>

#include "core/tagging/spans.h"

namespace engram::tagging {

// Which of two that overlap stands.
enum class Precedence : uint8_t {
  kLongest,  // the longer one in code points; of equally long ones the first, at the same place the tagger's
  kTagger,   // the tagger's, whatever it is
  kTerms,    // the list's
};

struct MergedEntity {
  Entity entity;
  bool tagged = false;  // the tagger found it
  int32_t term = -1;    // a term stands exactly there and is of its type: its number; -1: none
};

// `tagged`: as DecodeEntities gives them. `listed`: places of the terms `terms` (one for each), in the order of the text,
// no two of which overlap. An entity of both that has one place and type is one, with the tagger's score. Of all
// candidates, in the order of precedence, each stands that overlaps none before it: greedy, as spaCy's filter_spans, which
// is kLongest. The answer is in the order of the text. O(n log n); pure and thread-safe.
std::vector<MergedEntity> MergeEntities(std::vector<Entity> tagged, std::vector<Entity> listed,
                                        const std::vector<int32_t>& terms, Precedence precedence);

}  // namespace engram::tagging
