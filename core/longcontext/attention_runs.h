#pragma once

// Attention of one long sequence, a run of queries at a time, by libtorch's flash kernels: no scores and no mask of the
// whole text. CUDA's flash kernel takes no mask: there windows and what distances add are computed in plain ATen, whose
// scores are those of one run with the keys around it.

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/nn/ops/attention/attention.h"

namespace engram::longcontext {

// What computes attention under a mask: the flash kernel where the device's takes one, or plain ATen, which every device
// has.
enum class MaskedAttention { kOfDevice, kPlain };

class AttentionRuns {
 public:
  // `shape`: a layer's; its window is what a token may see at most (-1: all). `keys` [L, 2 key_width]: keys and values.
  // `by_distance`: of nn::ops::RelativeAttention; undefined: scores are not raised.
  AttentionRuns(const nn::ops::AttentionShape& shape, at::Tensor keys, at::Tensor by_distance,
                MaskedAttention masked = MaskedAttention::kOfDevice);

  const at::Tensor& keys() const { return keys_; }

  // Turns the queries [begin, begin + count) of all L, [L, out_width], into what attention makes of them, in place.
  // libtorch's exceptions pass: the kernels are called by name, and no other takes the place of one that cannot serve.
  void Attend(const at::Tensor& queries, int64_t begin, int64_t count);

 private:
  struct Part {  // keys that are looked at together
    int64_t first, count;
    bool diagonal;           // they begin with the run's own first token, and each query sees those up to its own
    at::Tensor mask, raise;  // what is added to each score, and [1, heads, 1] to all of them; undefined: nothing
  };
  // What those queries see, in one part or in several that are put together by their sums.
  std::vector<Part> PartsOf(int64_t begin, int64_t count, const at::Tensor& queries);
  // Around the queries the keys whose distances differ, and one part on each side where all are of one sort.
  std::vector<Part> PartsByDistance(int64_t begin, int64_t count, const at::Tensor& queries);
  at::Tensor Mask(int64_t offset, int64_t queries, int64_t keys, const at::TensorOptions& options);
  at::Tensor Keys(const Part& part, int64_t which) const;

  nn::ops::AttentionShape shape_;
  at::Tensor keys_, by_distance_;
  bool plain_;  // under a mask
  // Runs in the middle of a text share one mask.
  at::Tensor mask_;
  int64_t mask_offset_ = 0;
};

}  // namespace engram::longcontext
