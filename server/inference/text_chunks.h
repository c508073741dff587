#pragma once

// A text of any length as chunks that fit a version's window, for heads of whole texts.
//
// The last layer of such a head is linear, so that the mean of its chunks' logits is what the layer makes of the mean of
// what it reads of each chunk: a text that fits has the logits that it has without this, to the bit.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/serve/served_version.h"

namespace engram::server {

struct TextChunks {
  std::vector<nn::Sequence> sequences;  // each with special tokens of its own; the last one begins earlier, not short
  int64_t tokens = 0;                   // of all of them
  int64_t full_tokens = 0;              // of the text, special tokens included once
};

// Errors are the tokenizer's. A text without tokens is one chunk of special tokens.
absl::StatusOr<TextChunks> CutIntoChunks(const serve::ServedVersion& version, std::string_view text,
                                         std::optional<bool> split_special_tokens);

// The mean of chunks' logits, task by task.
class ChunkMean {
 public:
  void Add(const std::map<std::string, at::Tensor>& logits);
  int32_t count() const { return count_; }
  // fp32; at least one chunk was added.
  at::Tensor Of(const std::string& task) const;

 private:
  std::map<std::string, at::Tensor> sums_;  // fp64
  int32_t count_ = 0;
};

}  // namespace engram::server
