#pragma once

// Tasks that share one update of the encoder's weights: theta_t = theta + scale_t * (mask_t o update), a mask being one bit
// for each weight (EMR-Merging: Huang et al., NeurIPS 2024).

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"

namespace engram::nn {

struct TaskMask {
  at::Tensor bits;   // int32 [ceil(N / 32)]: bit i % 32 of word i / 32 is that of weight i
  double scale = 1;  // > 0
};

// `mask`: bool [N]. The bits, on the CPU.
at::Tensor PackBits(const at::Tensor& mask);
// The inverse: bool [size] on the CPU. `bits` as PackBits makes them of so many.
at::Tensor UnpackBits(const at::Tensor& bits, int64_t size);

// theta_t, fp32 [N] on the device of `weights`; both tensors fp32 [N].
at::Tensor ApplyMask(const at::Tensor& weights, const at::Tensor& update, const TaskMask& mask);

// INVALID_ARGUMENT unless the mask is one of so many weights.
absl::Status CheckMask(const TaskMask& mask, int64_t size);

}  // namespace engram::nn
