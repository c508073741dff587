#pragma once

// Scaled dot-product attention within each sequence of a packed batch, over several heads:
//
//   out = dropout(softmax(q k^T / sqrt(head_dim))) v     each head of each sequence for itself
//
// qkv [T, (heads + 2 kv_heads) head_dim] holds query, key and value side by side, heads side by side within each. Head h
// reads key and value of head h / (heads / kv_heads). Sequences hold up to 2^31 tokens; dropout's probabilities are told
// apart as dropout_bits.h says. A device's own form may draw them otherwise, as a pure function of the dropout and of where
// a probability stands (AttentionResult::by_device).

#include <array>

#include "ATen/core/Tensor.h"
#include "core/nn/ops/dropout/dropout.h"
#include "core/nn/packed_batch.h"

namespace engram::nn::ops {

struct AttentionShape {
  int64_t heads = 1, kv_heads = 1;  // kv_heads divides heads
  int64_t head_dim = 1;
  int64_t window = -1;  // a token sees those at most so far away; -1: all
  bool causal = false;  // a token sees itself and those before it

  int64_t out_width() const { return heads * head_dim; }
  int64_t key_width() const { return kv_heads * head_dim; }
  int64_t qkv_width() const { return out_width() + 2 * key_width(); }
  // The tokens of a sequence of `length` that token t sees are [FirstSeen(t), LastSeen(t, length)].
  int64_t FirstSeen(int64_t t) const { return window < 0 || t <= window ? 0 : t - window; }
  int64_t LastSeen(int64_t t, int64_t length) const {
    if (causal) return t;
    return window < 0 || window >= length - 1 - t ? length - 1 : t + window;
  }
};

struct AttentionResult {
  at::Tensor out;        // [T, heads head_dim]
  at::Tensor logsumexp;  // fp32 [heads, T], of the scaled scores; undefined unless keep
  // A form of the device's own computed it: its gradient needs `out` as well, and what else it kept.
  bool by_device = false;
  std::array<at::Tensor, 3> device_state = {};
};
AttentionResult Attention(const at::Tensor& qkv, const PackedBatch& batch, const AttentionShape& shape,
                          const Dropout& dropout, bool keep);

// The gradient of qkv, shaped as it, from that of `out`, g [T, heads head_dim]. `kept` is what Attention returned; its `out`
// may be undefined unless by_device.
at::Tensor AttentionGradient(const at::Tensor& g, const at::Tensor& qkv, const AttentionResult& kept,
                             const PackedBatch& batch, const AttentionShape& shape, const Dropout& dropout);

}  // namespace engram::nn::ops
