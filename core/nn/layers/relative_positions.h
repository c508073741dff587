#pragma once

// The table of distances that raises attention's scores (ops::RelativeAttention), of families that have one. Row b of its
// kRelativeBuckets rows [heads] is what distances of sort b add: with n = i - j, 16 sorts for n >= 0 and as many for
// n < 0; of each 16 the first 8 are |n| itself, the others floor(8 + 8 log(|n| / 8) / log(16)), from 113 on the last one
// (Raffel et al. 1910.10683; as transformers' MPNet computes it).

#include "core/checkpoint/tensor_names.h"
#include "core/nn/gradient_sink.h"
#include "core/nn/parameter_buffer.h"

namespace engram::nn {

class RelativePositions {
 public:
  static constexpr int64_t kFarthest = 128;  // from here on all distances are of one sort

  // Whether the tensor is this one's, which it takes then.
  bool Append(const checkpoint::ExpectedTensor& tensor, SlotId slot);
  bool exists() const { return table_ >= 0; }

  // fp32 [heads, 2 kFarthest + 1], for distances j - i from -kFarthest to kFarthest.
  at::Tensor ByDistance(const ParameterBuffer& parameters) const;
  // `gradient`: fp32 [sequences, heads, 2 kFarthest + 1], over all layers.
  void Backward(const at::Tensor& gradient, GradientSink& sink) const;

 private:
  SlotId table_ = -1;
};

}  // namespace engram::nn
