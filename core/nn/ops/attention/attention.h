#pragma once

// Bidirectional scaled dot-product attention within each sequence of a packed batch, over several heads:
//
//   out = dropout(softmax(q k^T / sqrt(d / heads))) v     each head of each sequence for itself
//
// qkv [T, 3d] holds query, key and value side by side, heads [d / heads] wide side by side within each; heads divide d.
// Sequences hold up to 2^31 tokens; dropout's probabilities are told apart as dropout_bits.h says.

#include "ATen/core/Tensor.h"
#include "core/nn/ops/dropout/dropout.h"
#include "core/nn/packed_batch.h"

namespace engram::nn::ops {

struct AttentionResult {
  at::Tensor out;        // [T, d]
  at::Tensor logsumexp;  // fp32 [heads, T], of the scaled scores; undefined unless keep
};
AttentionResult Attention(const at::Tensor& qkv, const PackedBatch& batch, int64_t heads, const Dropout& dropout,
                          bool keep);

// The gradient of qkv, [T, 3d], from that of `out`, g [T, d]. `logsumexp` is what Attention returned.
at::Tensor AttentionGradient(const at::Tensor& g, const at::Tensor& qkv, const at::Tensor& logsumexp,
                             const PackedBatch& batch, int64_t heads, const Dropout& dropout);

}  // namespace engram::nn::ops
