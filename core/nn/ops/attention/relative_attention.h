#pragma once

// Attention whose scores are raised by what the distance between query and key says, as in T5 and MPNet:
//
//   out = dropout(softmax(q k^T / sqrt(head_dim) + bias)) v,  bias_ij of head h = by_distance[h][clamp(j - i, -r, r) + r]
//
// In plain ATen calls, which run on every device; it has no entry in the table of ops, as no device has another form of it.
// by_distance fp32 [heads, 2 r + 1]; All else as in attention.h.

#include "core/nn/ops/attention/attention.h"

namespace engram::nn::ops {

AttentionResult RelativeAttention(const at::Tensor& qkv, const at::Tensor& by_distance, const PackedBatch& batch,
                                  const AttentionShape& shape, const Dropout& dropout, bool keep);

struct RelativeAttentionGradients {
  at::Tensor qkv;          // shaped as qkv
  at::Tensor by_distance;  // fp32 [sequences, heads, 2 r + 1]: of each sequence for itself
};
RelativeAttentionGradients RelativeAttentionGradient(const at::Tensor& g, const at::Tensor& qkv,
                                                     const at::Tensor& by_distance, const at::Tensor& logsumexp,
                                                     const PackedBatch& batch, const AttentionShape& shape,
                                                     const Dropout& dropout);

}  // namespace engram::nn::ops
