#pragma once

// From the rows of a data set to tokenized training examples.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/corpus/dataset.h"
#include "core/nn/model.h"
#include "core/tagging/bio.h"
#include "core/tokenize/tokenizer.h"
#include "core/train/evaluate.h"
#include "core/train/example.h"

namespace engram::worker {

struct Examples {
  std::vector<train::TrainingExample> examples;
  int64_t cut = 0;  // texts that were longer than max_length and lost their end (classification only)
};

// Classification: one example a text, cut at `max_length` tokens. Tagging: one a sentence, long ones as several windows
// of whole words, each word tagged in exactly one of them, at its first token. Plain text: consecutive pieces of at
// most `max_length` tokens. INVALID_ARGUMENT for labels that are not among `labels`, or rows of another kind than the
// task's.
absl::StatusOr<Examples> MakeExamples(const corpus::Dataset& dataset, nn::HeadKind kind,
                                      const std::vector<std::string>& labels, int64_t max_length,
                                      const tokenize::Tokenizer& tokenizer);

// Tokens of all examples, special tokens included.
int64_t TotalTokens(std::span<const train::TrainingExample> examples);

// Micro-averaged F1 of entities (seqeval's), decoded by constrained Viterbi.
train::TokenMetric EntityF1(const tagging::TagSet& tags);

}  // namespace engram::worker
