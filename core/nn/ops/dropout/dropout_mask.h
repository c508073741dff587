#pragma once

// The dropout mask as a tensor, for reference implementations.

#include "ATen/core/Tensor.h"
#include "core/nn/ops/dropout/dropout.h"

namespace engram::nn::ops::reference {

// The scaled keep mask (0 or 1 / (1 - p)) of `count` elements starting at element `first` (dropout_bits.h says which
// those are), fp32 [count] on `device`.
at::Tensor DropoutMask(const Dropout& dropout, int64_t first, int64_t count, at::Device device);

}  // namespace engram::nn::ops::reference
