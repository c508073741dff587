#include "core/nn/ops/attention/attention_reference.h"

#include <cmath>
#include <limits>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/empty_like.h"
#include "ATen/ops/exp.h"
#include "ATen/ops/index_select.h"
#include "ATen/ops/logsumexp.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/repeat_interleave.h"
#include "ATen/ops/softmax.h"
#include "ATen/ops/stack.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"
#include "core/nn/ops/dropout/dropout_bits.h"
#include "core/nn/ops/dropout/dropout_mask.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::reference {
namespace {

// Query, key and value of one sequence, fp32 [heads, length, head_dim]; heads that share keys have them repeated.
struct SequenceQkv {
  SequenceQkv(const at::Tensor& qkv, const PackedBatch& batch, int64_t i, const AttentionShape& shape) {
    const int64_t length = batch.length(i), keys = shape.key_width();
    const at::Tensor rows = qkv.narrow(0, batch.host_cu_seqlens[i], length).to(at::kFloat);
    const auto part = [&](int64_t first, int64_t heads) {
      const at::Tensor own = rows.narrow(1, first, heads * shape.head_dim)
                                 .reshape({length, heads, shape.head_dim})
                                 .transpose(0, 1)
                                 .contiguous();
      return heads == shape.heads ? own : at::repeat_interleave(own, shape.heads / heads, 0);
    };
    q = part(0, shape.heads);
    k = part(shape.out_width(), shape.kv_heads);
    v = part(shape.out_width() + keys, shape.kv_heads);
    scale = 1.0 / std::sqrt(static_cast<double>(shape.head_dim));
  }
  at::Tensor q, k, v;
  double scale;
};

// Scaled scores [heads, length, length], -infinity where a token does not see another.
at::Tensor Scores(const SequenceQkv& s, const AttentionShape& shape) {
  at::Tensor scores = at::matmul(s.q, s.k.transpose(1, 2)) * s.scale;
  if (shape.window < 0 && !shape.causal) return scores;
  const at::Tensor position = at::arange(scores.size(1), scores.options().dtype(at::kLong));
  const at::Tensor distance = position.unsqueeze(1) - position.unsqueeze(0);  // from the key on to the query
  at::Tensor hidden = at::zeros_like(distance, distance.options().dtype(at::kBool));
  if (shape.causal) hidden = hidden | (distance < 0);
  if (shape.window >= 0) hidden = hidden | (distance.abs() > shape.window);
  return scores.masked_fill(hidden, -std::numeric_limits<double>::infinity());
}

// The dropout mask of one sequence's probabilities, [heads, length, length]; undefined if dropout is not active.
at::Tensor ProbabilityMask(const PackedBatch& batch, int64_t i, int64_t heads, const Dropout& dropout,
                           at::Device device) {
  if (!dropout.active()) return {};
  const int64_t length = batch.length(i), stride = AttentionDropoutStride(length);
  std::vector<at::Tensor> by_key;
  for (int64_t h = 0; h < heads; ++h) {
    const auto first = static_cast<int64_t>(FirstAttentionDropout(i, h, heads, batch.max_seqlen));
    by_key.push_back(DropoutMask(dropout, first, length * stride, device).view({length, stride}).narrow(1, 0, length));
  }
  return at::stack(by_key).transpose(1, 2);
}

at::Tensor Rows(const at::Tensor& heads_first) {  // [heads, length, head_dim] -> [length, d]
  return heads_first.transpose(0, 1).reshape({heads_first.size(1), -1});
}

// Sums over the heads that share a key: [heads, length, head_dim] -> [kv_heads, length, head_dim].
at::Tensor Shared(const at::Tensor& gradient, const AttentionShape& shape) {
  if (shape.kv_heads == shape.heads) return gradient;
  return gradient.reshape({shape.kv_heads, shape.heads / shape.kv_heads, gradient.size(1), gradient.size(2)}).sum(1);
}

// Which column of by_distance [heads, 2 r + 1] each pair of a query and a key of a sequence reads, int64 [length, length].
at::Tensor DistanceIndex(int64_t length, const at::Tensor& by_distance) {
  const int64_t farthest = by_distance.size(1) / 2;
  const at::Tensor position = at::arange(length, by_distance.options().dtype(at::kLong));
  return (position.unsqueeze(0) - position.unsqueeze(1)).clamp(-farthest, farthest) + farthest;
}

// Adds what distances say; by_distance undefined: nothing.
at::Tensor Raised(const at::Tensor& scores, const at::Tensor& by_distance) {
  if (!by_distance.defined()) return scores;
  const int64_t length = scores.size(1);
  return scores + at::index_select(by_distance, 1, DistanceIndex(length, by_distance).view(-1)).view_as(scores);
}

}  // namespace

AttentionResult Attend(const at::Tensor& qkv, const at::Tensor& by_distance, const PackedBatch& batch,
                       const AttentionShape& shape, const Dropout& dropout, bool keep) {
  const int64_t tokens = qkv.size(0), heads = shape.heads;
  AttentionResult result;
  result.out = at::empty({tokens, shape.out_width()}, qkv.options());
  if (keep) result.logsumexp = at::empty({heads, tokens}, qkv.options().dtype(at::kFloat));
  for (int64_t i = 0; i < batch.sequences(); ++i) {
    const SequenceQkv s(qkv, batch, i, shape);
    const at::Tensor scores = Raised(Scores(s, shape), by_distance);
    at::Tensor probabilities = at::softmax(scores, 2);
    if (dropout.active()) probabilities = probabilities * ProbabilityMask(batch, i, heads, dropout, qkv.device());
    result.out.narrow(0, batch.host_cu_seqlens[i], batch.length(i)).copy_(Rows(at::matmul(probabilities, s.v)));
    if (keep) result.logsumexp.narrow(1, batch.host_cu_seqlens[i], batch.length(i)).copy_(at::logsumexp(scores, {2}));
  }
  return result;
}

RelativeAttentionGradients Gradients(const at::Tensor& g, const at::Tensor& qkv, const at::Tensor& by_distance,
                                     const at::Tensor& logsumexp, const PackedBatch& batch, const AttentionShape& shape,
                                     const Dropout& dropout) {
  at::Tensor gradient = at::empty_like(qkv), of_distances;
  if (by_distance.defined())
    of_distances = at::zeros({batch.sequences(), by_distance.size(0), by_distance.size(1)}, by_distance.options());
  const int64_t heads = shape.heads;
  for (int64_t i = 0; i < batch.sequences(); ++i) {
    const int64_t first = batch.host_cu_seqlens[i], length = batch.length(i);
    const SequenceQkv s(qkv, batch, i, shape);
    const at::Tensor dout =
        g.narrow(0, first, length).to(at::kFloat).reshape({length, heads, shape.head_dim}).transpose(0, 1);
    const at::Tensor scores = Raised(Scores(s, shape), by_distance);
    const at::Tensor p = at::exp(scores - logsumexp.narrow(1, first, length).unsqueeze(2));
    const at::Tensor mask = ProbabilityMask(batch, i, heads, dropout, qkv.device());
    at::Tensor dp = at::matmul(dout, s.v.transpose(1, 2));
    if (mask.defined()) dp = dp * mask;
    const at::Tensor dv = at::matmul((mask.defined() ? p * mask : p).transpose(1, 2), dout);
    const at::Tensor of_scores = p * (dp - (dp * p).sum(2, true)), ds = of_scores * s.scale;
    if (by_distance.defined()) {
      of_distances.select(0, i).index_add_(1, DistanceIndex(length, by_distance).view(-1),
                                           of_scores.reshape({heads, length * length}));
    }
    const at::Tensor dq = at::matmul(ds, s.k), dk = at::matmul(ds.transpose(1, 2), s.q);
    gradient.narrow(0, first, length).copy_(at::cat({Rows(dq), Rows(Shared(dk, shape)), Rows(Shared(dv, shape))}, 1));
  }
  return {gradient, of_distances};
}

namespace {

AttentionResult Attention(const at::Tensor& qkv, const PackedBatch& batch, const AttentionShape& shape,
                          const Dropout& dropout, bool keep) {
  return Attend(qkv, at::Tensor(), batch, shape, dropout, keep);
}

at::Tensor AttentionGradient(const at::Tensor& g, const at::Tensor& qkv, const at::Tensor& logsumexp,
                             const PackedBatch& batch, const AttentionShape& shape, const Dropout& dropout) {
  return Gradients(g, qkv, at::Tensor(), logsumexp, batch, shape, dropout).qkv;
}

}  // namespace

void SetAttention(OpTable& table) {
  table.attention = Attention;
  table.attention_gradient = AttentionGradient;
}

}  // namespace engram::nn::ops::reference
