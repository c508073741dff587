#pragma once

#include <cstdint>
#include <vector>

#include "core/nn/packed_batch.h"

namespace engram::train {

// One tokenized training text, or one window of a long tagged sentence. Immutable once made.
struct TrainingExample {
  nn::Sequence sequence;
  int64_t label = -1;         // sequence classification: class number
  std::vector<int64_t> tags;  // token classification: one tag number per token, ops::kIgnored where no loss is taken
                              // (special tokens, later pieces of a word); else empty
  int64_t source = -1;        // number of its text in the data set; -1: unknown
  bool continues = false;     // a further window of the text that the example before it belongs to
};

}  // namespace engram::train
