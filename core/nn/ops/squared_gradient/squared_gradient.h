#pragma once

// Squared gradients of each sequence, summed over sequences: what Fisher information and its relatives are made of
// (formulas: docs/ewc.md).
//
// Sequence n has the rows [cu_rows[n], cu_rows[n + 1]) of g and x; cu_rows int32 [N + 1] and weight fp32 [N] lie on the
// host, and a sequence may have no rows. `absolute` adds |S_n| in place of S_n^2 (memory aware synapses). Totals are
// fp32.

#include <cstdint>
#include <span>

#include "ATen/core/Tensor.h"

namespace engram::nn::ops {

// A linear layer, g [R, o], x [R, i]: S_n = g_n^T x_n;  square_w [o, i] += weight[n] * S_n^2,  square_b [o] += weight[n]
// * (sum_t g_nt)^2.  Either total may be undefined: skipped (x may be undefined with square_w).
void SquaredLinearGradient(const at::Tensor& g, const at::Tensor& x, std::span<const int32_t> cu_rows,
                           std::span<const float> weight, bool absolute, const at::Tensor& square_w,
                           const at::Tensor& square_b);

// A layer norm: square_gamma [d] += weight[n] * (sum_t g_nt * normalized_nt)^2,  square_beta [d] += weight[n] * (sum_t
// g_nt)^2.  square_beta undefined: skipped.
void SquaredLayerNormGradient(const at::Tensor& g, const at::Tensor& normalized, std::span<const int32_t> cu_rows,
                              std::span<const float> weight, bool absolute, const at::Tensor& square_gamma,
                              const at::Tensor& square_beta);

// An embedding table, index int32 [R]: square_table [V, d] += weight[n] * (sum of g_nt over the t whose index is v)^2,
// row by row; repeated ids of one sequence are summed before they are squared.
void SquaredEmbeddingGradient(const at::Tensor& g, const at::Tensor& index, std::span<const int32_t> cu_rows,
                              std::span<const float> weight, bool absolute, const at::Tensor& square_table);

}  // namespace engram::nn::ops
