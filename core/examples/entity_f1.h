#pragma once

// The score of taggers: micro-averaged F1 of entities (seqeval's), decoded by constrained Viterbi.

#include <string>
#include <vector>

#include "core/examples/examples.h"
#include "core/tagging/bio.h"
#include "core/tagging/entity_scores.h"
#include "core/train/evaluate.h"

namespace engram::examples {

// Over all examples that MakeExamples made, in their order: windows are put together first, and a word that the
// tokenizer drops is O (WordLogits). `scores`, if not null, is given the scores of all types of the last call; it
// outlives the metric. `types`: those that the data says anything of; what is found of others is no error (empty: all).
train::TokenMetric SentenceEntityF1(const tagging::TagSet& tags, SentencePlaces places,
                                    tagging::EntityScores* scores = nullptr, std::vector<std::string> types = {});
// The same over whole texts out of those that `places` are of (a validation part): of each text whose number stands in
// TrainingExample::source all windows, in their order.
train::TokenMetric HeldOutEntityF1(const tagging::TagSet& tags, SentencePlaces places,
                                   tagging::EntityScores* scores = nullptr, std::vector<std::string> types = {});

}  // namespace engram::examples
