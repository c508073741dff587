#pragma once

// Every numeric operation that layers are made of, forward and backward, on packed rows. There is no autograd in
// Engram: each layer's backward is written out, which is what makes per-sequence Fisher, dropout without stored masks
// and a fast CPU path possible. Each op has a reference of plain ATen calls (core/nn/reference_ops.h; what CUDA runs,
// and what tests compare with) and a fused CPU kernel (core/nn/kernels/).
//
// Dtypes: activations are fp32 or bf16 (x.dtype() decides, all of one call agree); sums, statistics and parameter
// gradients are fp32 always (in bf16 a micro-batch's product g^T x is rounded to bf16 once before it is added, as under
// PyTorch's autocast). Shapes: T rows, widths i, o, d. Nothing is checked in release builds: callers are layers, which
// checked at build. Functions allocate their outputs and are thread-safe. Results repeat to the bit with one number of
// threads; kernels of our own do not depend on it, oneDNN's products may (docs/performance.md).

#include <cstdint>
#include <span>

#include "ATen/core/Tensor.h"
#include "core/nn/packed_batch.h"

namespace engram::nn {

enum class Activation { kGelu, kGeluTanh, kRelu, kSilu, kTanh };  // kGelu: exact, with erf

namespace ops {

// Dropout with a mask that is a pure function of (seed, step, site, element): backward recomputes it instead of storing
// it. The probability is quantised to 1/65536 (16 random bits an element). probability == 0: identity.
struct Dropout {
  float probability = 0;
  uint64_t seed = 0;
  uint64_t step = 0;  // micro-batch count
  uint32_t site = 0;  // which dropout of the network this is
  bool active() const { return probability > 0; }
};

// ---- Linear: y = x W^T + b.   x [T, i], w [o, i], b [o] or undefined -> [T, o]
at::Tensor Linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b);
// dx = g W.   g [T, o] -> [T, i]
at::Tensor LinearInputGradient(const at::Tensor& g, const at::Tensor& w);
// grad_w [o, i] += g^T x;  grad_b [o] += sum_t g  (either may be undefined: skipped)
void LinearWeightGradient(const at::Tensor& g, const at::Tensor& x, const at::Tensor& grad_w, const at::Tensor& grad_b);

// ---- y = act(x W^T + b). `pre` receives x W^T + b, which the gradient needs; nullptr: not kept (inference).
at::Tensor LinearActivation(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b, Activation act,
                            at::Tensor* pre);
// d pre = g * act'(pre)
at::Tensor ActivationGradient(const at::Tensor& g, const at::Tensor& pre, Activation act);

// ---- y = normalized * gamma + beta, normalized = (s - mean(s)) * rstd, s = dropout(x) + residual
struct LayerNormResult {
  at::Tensor y;           // [T, d]
  at::Tensor normalized;  // [T, d], what the gradient needs; undefined unless keep
  at::Tensor rstd;        // fp32 [T]; undefined unless keep
};
// residual undefined: s = dropout(x).
LayerNormResult AddLayerNorm(const at::Tensor& x, const at::Tensor& residual, const Dropout& dropout,
                             const at::Tensor& gamma, const at::Tensor& beta, double eps, bool keep);
struct AddLayerNormGradientResult {
  at::Tensor residual;  // ds: the gradient of the residual branch, [T, d]
  at::Tensor x;         // ds with the dropout mask applied (the same tensor if dropout is not active)
};
AddLayerNormGradientResult AddLayerNormGradient(const at::Tensor& g, const at::Tensor& normalized,
                                                const at::Tensor& rstd, const at::Tensor& gamma,
                                                const Dropout& dropout);
// grad_gamma [d] += sum_t g * normalized;  grad_beta [d] += sum_t g
void LayerNormWeightGradient(const at::Tensor& g, const at::Tensor& normalized, const at::Tensor& grad_gamma,
                             const at::Tensor& grad_beta);

// ---- Dropout on its own (before a classifier). Forward and backward are the same function.
at::Tensor ApplyDropout(const at::Tensor& x, const Dropout& dropout);

// ---- Bidirectional attention within each sequence. qkv [T, 3d]: query, key, value side by side; heads divide d.
struct AttentionResult {
  at::Tensor out;        // [T, d]
  at::Tensor logsumexp;  // fp32 [heads, T]; undefined unless keep
};
AttentionResult Attention(const at::Tensor& qkv, const PackedBatch& batch, int64_t heads, const Dropout& dropout,
                          bool keep);
// Gradient of qkv, [T, 3d]; `logsumexp` is what Attention returned.
at::Tensor AttentionGradient(const at::Tensor& g, const at::Tensor& qkv, const at::Tensor& logsumexp,
                             const PackedBatch& batch, int64_t heads, const Dropout& dropout);

// ---- Embeddings. word [V, d], type [K, d] or undefined, position [P, d] or undefined (indexed by batch.positions +
// first_position)
at::Tensor EmbeddingSum(const PackedBatch& batch, const at::Tensor& word, const at::Tensor& type,
                        const at::Tensor& position, int64_t first_position);
// grad_table [V, d] += scatter of g [R, d] by index int32 [R]; repeated ids add up, in a fixed order.
void EmbeddingWeightGradient(const at::Tensor& g, const at::Tensor& index, const at::Tensor& grad_table);

// ---- Pooling: one row a sequence
at::Tensor MeanPool(const at::Tensor& hidden, const PackedBatch& batch);       // [T, d] -> [n, d]
at::Tensor MeanPoolGradient(const at::Tensor& g, const PackedBatch& batch);    // [n, d] -> [T, d]
at::Tensor FirstToken(const at::Tensor& hidden, const PackedBatch& batch);     // [T, d] -> [n, d]
at::Tensor FirstTokenGradient(const at::Tensor& g, const PackedBatch& batch);  // [n, d] -> [T, d]

// ---- Softmax cross-entropy. logits fp32 [R, C], target int64 [R] (kIgnored rows count for nothing), weight fp32 [R]
// or undefined (1).
inline constexpr int64_t kIgnored = -100;
struct CrossEntropyResult {
  at::Tensor loss;  // fp32 [R]: weight * -log softmax(logits)[target]; 0 where ignored
  at::Tensor grad;  // fp32 [R, C]: weight * (softmax - onehot); 0 where ignored
};
CrossEntropyResult CrossEntropy(const at::Tensor& logits, const at::Tensor& target, const at::Tensor& weight);

// ---- Per-sequence squared gradients, for the importance engine (formulas: docs/ewc.md, continual_learning B.1).
// For each sequence n with rows [cu[n], cu[n+1]): S_n = g_n^T x_n;  square_w [o, i] += weight[n] * S_n^2,
// square_b [o] += weight[n] * (sum_t g_nt)^2. `absolute`: adds |S_n| instead of S_n^2 (MAS). weight fp32 [n] host span.
void SquaredLinearGradient(const at::Tensor& g, const at::Tensor& x, std::span<const int32_t> cu_rows,
                           std::span<const float> weight, bool absolute, const at::Tensor& square_w,
                           const at::Tensor& square_b);
void SquaredLayerNormGradient(const at::Tensor& g, const at::Tensor& normalized, std::span<const int32_t> cu_rows,
                              std::span<const float> weight, bool absolute, const at::Tensor& square_gamma,
                              const at::Tensor& square_beta);
// Repeated ids of one sequence are summed before they are squared.
void SquaredEmbeddingGradient(const at::Tensor& g, const at::Tensor& index, std::span<const int32_t> cu_rows,
                              std::span<const float> weight, bool absolute, const at::Tensor& square_table);

}  // namespace ops
}  // namespace engram::nn
