#pragma once

// The fused CPU kernels behind ops.h. The loops themselves are in isa_kernels.cc, compiled once for each instruction
// set and chosen at run time (isa.h); here they meet tensors and threads. Every output element is computed by one
// thread in a fixed order, so results do not depend on the number of threads. Contracts: ops.h.

#include "core/nn/ops.h"

namespace engram::nn::kernels {

ops::LayerNormResult AddLayerNorm(const at::Tensor& x, const at::Tensor& residual, const ops::Dropout& dropout,
                                  const at::Tensor& gamma, const at::Tensor& beta, double eps, bool keep);
ops::AddLayerNormGradientResult AddLayerNormGradient(const at::Tensor& g, const at::Tensor& normalized,
                                                     const at::Tensor& rstd, const at::Tensor& gamma,
                                                     const ops::Dropout& dropout);
ops::AttentionResult Attention(const at::Tensor& qkv, const PackedBatch& batch, int64_t heads,
                               const ops::Dropout& dropout, bool keep);
at::Tensor AttentionGradient(const at::Tensor& g, const at::Tensor& qkv, const ops::AttentionResult& forward,
                             const PackedBatch& batch, int64_t heads, const ops::Dropout& dropout);
void EmbeddingWeightGradient(const at::Tensor& g, const at::Tensor& index, const at::Tensor& grad_table);

}  // namespace engram::nn::kernels
