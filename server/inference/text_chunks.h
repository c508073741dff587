#pragma once

// The mean of a text's chunks, for heads of whole texts: a text of any length is read in chunks that fit a version's
// window (tokenize::EncodeInWindows).
//
// The last layer of such a head is linear, so that the mean of its chunks' logits is what the layer makes of the mean of
// what it reads of each chunk: a text that fits has the logits that it has without this, to the bit.

#include <cstdint>
#include <map>
#include <string>

#include "ATen/core/Tensor.h"

namespace engram::server {

// The mean of chunks' logits, each chunk by its weight, task by task.
class ChunkMean {
 public:
  // `weight`: the tokens of the text that count for this chunk alone, >= 0; not 0 for all chunks.
  void Add(const std::map<std::string, at::Tensor>& logits, int64_t weight);
  // fp32; at least one chunk of the task was added.
  at::Tensor Of(const std::string& task) const;

 private:
  struct Sum {
    at::Tensor logits;  // fp64, weighted
    int64_t weight = 0;
  };
  std::map<std::string, Sum> sums_;
};

}  // namespace engram::server
