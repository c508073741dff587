#pragma once

// Decoding of taggers whose tags are not BIO2 (TagReading). Inputs are those of Viterbi and EntityProbabilities
// (viterbi.h), checked there.

#include <cstdint>
#include <span>
#include <vector>

#include "core/tagging/bio.h"
#include "core/tagging/spans.h"

namespace engram::tagging {

// kIob1, kWords: every sequence is legal, so each word's most probable tag (of equal ones the first); kNone for a row of
// minus infinity.
std::vector<int32_t> BestOfEachWord(const TagSet& tags, std::span<const float> log_probabilities);
// P(exactly these words are an entity of this type) with the words independent: for kIob1
//   (B + I (1 - p(type before))) * product of I over the other words * (1 - I behind),   B, I, p at the words' own places.
std::vector<double> IndependentProbabilities(const TagSet& tags, std::span<const float> log_probabilities,
                                             std::span<const TagSpan> spans);

// kBioes: the legal sequence of the highest score; of equal ones the one with the lower tag ids, decided from the last
// word backwards. O(T K).
std::vector<int32_t> BestBioes(const TagSet& tags, std::span<const float> log_probabilities);
// The same P under the distribution over legal sequences. O(T K).
std::vector<double> BioesProbabilities(const TagSet& tags, std::span<const float> log_probabilities,
                                       std::span<const TagSpan> spans);

}  // namespace engram::tagging
