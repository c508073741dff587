#pragma once

// What brings the loops of isa.h together with tensors and threads. For <op>_cpu.cc: every output element is computed by
// one thread in a fixed order, so results do not depend on the number of threads.

#include <cstdint>

#include "ATen/core/Tensor.h"

namespace engram::nn::kernels {

// Rows are cheap: hand a thread enough of them.
inline constexpr int64_t kRowGrain = 32;
// Columns go to threads in whole cache lines.
inline constexpr int64_t kColumnGrain = 64;
// What a kernel takes of a row at once: lanes.h's kLanes, for those who have no lanes.
inline constexpr int64_t kColumnBlock = 16;

inline bool IsBf16(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16; }

inline const char* Bytes(const at::Tensor& x) { return static_cast<const char*>(x.const_data_ptr()); }
inline char* MutableBytes(const at::Tensor& x) { return static_cast<char*>(x.mutable_data_ptr()); }

// sum_g [d] += sum_t g[t];  with `normalized`: sum_product [d] += sum_t g[t] * normalized[t].  g and normalized [T, d],
// contiguous, fp32 or bf16; sums fp32.
void ColumnSums(const at::Tensor& g, const at::Tensor& normalized, const at::Tensor& sum_g,
                const at::Tensor& sum_product);

}  // namespace engram::nn::kernels
