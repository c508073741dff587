#pragma once

// The score of taggers: micro-averaged F1 of entities (seqeval's), decoded by constrained Viterbi.

#include "core/examples/examples.h"
#include "core/tagging/bio.h"
#include "core/train/evaluate.h"

namespace engram::examples {

// Over any examples: each window is scored by itself, so that an entity that two windows share counts as two.
train::TokenMetric EntityF1(const tagging::TagSet& tags);
// Over all examples that MakeExamples made, in their order: windows are put together first, and a word that the
// tokenizer drops is O (WordLogits).
train::TokenMetric SentenceEntityF1(const tagging::TagSet& tags, SentencePlaces places);

}  // namespace engram::examples
