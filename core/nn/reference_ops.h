#pragma once

// The ops of ops.h in plain ATen calls: what every device but the CPU runs, and what the CPU kernels are compared with.
// Contracts: ops.h.

#include "core/nn/ops.h"

namespace engram::nn::reference {

at::Tensor ApplyDropout(const at::Tensor& x, const ops::Dropout& dropout);
ops::LayerNormResult AddLayerNorm(const at::Tensor& x, const at::Tensor& residual, const ops::Dropout& dropout,
                                  const at::Tensor& gamma, const at::Tensor& beta, double eps, bool keep);
ops::AddLayerNormGradientResult AddLayerNormGradient(const at::Tensor& g, const at::Tensor& normalized,
                                                     const at::Tensor& rstd, const at::Tensor& gamma,
                                                     const ops::Dropout& dropout);
void LayerNormWeightGradient(const at::Tensor& g, const at::Tensor& normalized, const at::Tensor& grad_gamma,
                             const at::Tensor& grad_beta);
at::Tensor Activate(const at::Tensor& pre, Activation act);
at::Tensor ActivationGradient(const at::Tensor& g, const at::Tensor& pre, Activation act);
ops::AttentionResult Attention(const at::Tensor& qkv, const PackedBatch& batch, int64_t heads,
                               const ops::Dropout& dropout, bool keep);
at::Tensor AttentionGradient(const at::Tensor& g, const at::Tensor& qkv, const at::Tensor& logsumexp,
                             const PackedBatch& batch, int64_t heads, const ops::Dropout& dropout);
at::Tensor EmbeddingSum(const PackedBatch& batch, const at::Tensor& word, const at::Tensor& type,
                        const at::Tensor& position, int64_t first_position);
void EmbeddingWeightGradient(const at::Tensor& g, const at::Tensor& index, const at::Tensor& grad_table);

// The scaled keep mask (0 or 1/(1-p)) of `count` elements starting at element `first`, fp32 on `device`. Element e of
// site s at step t takes 16 bits of Philox block e / 8 of the stream (seed, kDropout, t) with the site in the block
// counter's high word.
at::Tensor DropoutMask(const ops::Dropout& dropout, int64_t first, int64_t count, at::Device device);

}  // namespace engram::nn::reference
