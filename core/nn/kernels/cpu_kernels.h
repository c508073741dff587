#pragma once

// The fused CPU kernels behind ops.h. The loops themselves are in isa_kernels.cc, compiled once for each instruction
// set and chosen at run time (isa.h); cpu_kernels.cc and attention.cc bring them together with tensors and threads.
// Every output element is computed by one thread in a fixed order, so results do not depend on the number of threads.
// Contracts: ops.h.

#include "core/nn/ops.h"

namespace engram::nn::kernels {

ops::LayerNormResult AddLayerNorm(const at::Tensor& x, const at::Tensor& residual, const ops::Dropout& dropout,
                                  const at::Tensor& gamma, const at::Tensor& beta, double eps, bool keep);
ops::AddLayerNormGradientResult AddLayerNormGradient(const at::Tensor& g, const at::Tensor& normalized,
                                                     const at::Tensor& rstd, const at::Tensor& gamma,
                                                     const ops::Dropout& dropout);
ops::AttentionResult Attention(const at::Tensor& qkv, const PackedBatch& batch, int64_t heads,
                               const ops::Dropout& dropout, bool keep);
at::Tensor AttentionGradient(const at::Tensor& g, const at::Tensor& qkv, const at::Tensor& logsumexp,
                             const PackedBatch& batch, int64_t heads, const ops::Dropout& dropout);
// sum_g [d] += sum_t g[t];  with `normalized`: sum_product [d] += sum_t g[t] * normalized[t]. Sums fp32.
void ColumnSums(const at::Tensor& g, const at::Tensor& normalized, const at::Tensor& sum_g,
                const at::Tensor& sum_product);
at::Tensor ApplyDropout(const at::Tensor& x, const ops::Dropout& dropout);
// g * d/dpre gelu(pre), gelu with erf.
at::Tensor GeluGradient(const at::Tensor& g, const at::Tensor& pre);
// Throws c10::IndexError for an id, position or type that its table does not have.
at::Tensor EmbeddingSum(const PackedBatch& batch, const at::Tensor& word, const at::Tensor& type,
                        const at::Tensor& position, int64_t first_position);
void EmbeddingWeightGradient(const at::Tensor& g, const at::Tensor& index, const at::Tensor& grad_table);

// total [o, i] += sum_n weight[n] * (g_n^T x_n)^2, or * |g_n^T x_n| if `absolute`, where sequence n has the rows
// [cu_rows[n], cu_rows[n + 1]) of g [R, o] and x [R, i]. fp32, contiguous.
void AddSquaredProducts(const at::Tensor& g, const at::Tensor& x, std::span<const int32_t> cu_rows,
                        std::span<const float> weight, bool absolute, const at::Tensor& total);

}  // namespace engram::nn::kernels
