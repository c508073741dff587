#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/nn/packed_batch.h"

namespace engram::train {

// One tokenized training text, or one window of a long tagged sentence. Immutable once made.
struct TrainingExample {
  nn::Sequence sequence;
  int64_t label = -1;         // sequence classification: class number
  std::vector<int64_t> tags;  // token classification: one tag number per token, ops::kIgnored where no loss is taken
                              // (special tokens, later pieces of a word, words of which nothing is known); else empty
  std::vector<int32_t> missing;  // token classification: the first tokens of words of which nothing is known, ascending
  int64_t source = -1;           // number of its text in the data set; -1: unknown
  bool continues = false;        // a further window of the text that the example before it belongs to
  // Of a text that was cut, and of a window of one that has several: the TokensDigest of all tokens of the text without
  // special ones; of a pair that was cut those of both texts. 0: the example has all tokens; kUnknownWhole: not known.
  std::array<int64_t, 2> whole = {};
};

inline constexpr int64_t kUnknownWhole = -1;

// What tells a text by its tokens: the first 60 bits of the SHA-256 of the ids, little-endian. Above 0.
int64_t TokensDigest(std::span<const int32_t> ids);

}  // namespace engram::train
