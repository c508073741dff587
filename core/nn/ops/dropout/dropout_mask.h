#pragma once

#include <array>

#include "ATen/core/Tensor.h"
#include "core/nn/ops/dropout/dropout.h"

namespace engram::nn::ops {

// What each element of x is multiplied with, counted row by row, for reference implementations. fp32, shaped as x, drawn by
// the table of x's device.
inline at::Tensor MaskLike(const at::Tensor& x, const Dropout& dropout) {
  return DropoutMask(dropout, std::array<int64_t, 1>{0}, x.numel(), x.device()).view(x.sizes());
}

}  // namespace engram::nn::ops
