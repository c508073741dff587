#include "core/nn/ops/attention/attention_reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
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
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "core/nn/ops/dropout/dropout_bits.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::reference {
namespace {

// Sequences that are computed at once, each padded to `padded` tokens: those of one AttentionDropoutStride, so that their
// dropout masks are whole tensors and no call is made for one sequence.
struct Group {
  int64_t padded = 0;
  std::vector<int64_t> sequences;
};

// Most scores of one group, unless a single sequence has more.
constexpr int64_t kMostScores = int64_t{1} << 23;

std::vector<Group> GroupsOf(const PackedBatch& batch, int64_t heads) {
  std::map<int64_t, std::vector<int64_t>> by_length;
  for (int64_t i = 0; i < batch.sequences(); ++i) by_length[AttentionDropoutStride(batch.length(i))].push_back(i);
  std::vector<Group> groups;
  for (const auto& [padded, sequences] : by_length) {
    const int64_t most = std::max<int64_t>(1, kMostScores / (heads * padded * padded));
    for (size_t first = 0; first < sequences.size(); first += static_cast<size_t>(most)) {
      const size_t last = std::min(sequences.size(), first + static_cast<size_t>(most));
      groups.push_back(
          {padded, {sequences.begin() + static_cast<int64_t>(first), sequences.begin() + static_cast<int64_t>(last)}});
    }
  }
  return groups;
}

// One group's rows, and what of its scores counts.
class GroupRows {
 public:
  GroupRows(const Group& group, const PackedBatch& batch, at::Device device)
      : count_(static_cast<int64_t>(group.sequences.size())), padded_(group.padded) {
    std::vector<int64_t> gathered, own, packed, lengths;
    for (int64_t i = 0; i < count_; ++i) {
      const int64_t sequence = group.sequences[static_cast<size_t>(i)], length = batch.length(sequence);
      const int64_t first = batch.host_cu_seqlens[static_cast<size_t>(sequence)];
      lengths.push_back(length);
      for (int64_t t = 0; t < padded_; ++t) gathered.push_back(first + std::min(t, length - 1));
      for (int64_t t = 0; t < length; ++t) {
        own.push_back(i * padded_ + t);
        packed.push_back(first + t);
      }
    }
    gathered_ = at::tensor(gathered, at::kLong).to(device);
    own_ = at::tensor(own, at::kLong).to(device);
    packed_ = at::tensor(packed, at::kLong).to(device);
    const at::Tensor position = at::arange(padded_, gathered_.options());
    beyond_ = (position.unsqueeze(0) >= at::tensor(lengths, at::kLong).to(device).unsqueeze(1));
  }
  int64_t count() const { return count_; }
  int64_t padded() const { return padded_; }
  // Columns [first, first + heads dim) of each of the rows, fp32 [count, heads, padded, dim].
  at::Tensor Heads(const at::Tensor& rows, int64_t first, int64_t heads, int64_t dim) const {
    return at::index_select(rows.narrow(1, first, heads * dim), 0, gathered_)
        .to(at::kFloat)
        .view({count_, padded_, heads, dim})
        .transpose(1, 2)
        .contiguous();
  }
  // [count, padded]: places that no token is at.
  const at::Tensor& beyond() const { return beyond_; }
  // [count, heads, padded, dim] -> [tokens of the group, heads dim]
  at::Tensor Packed(const at::Tensor& by_head) const {
    return at::index_select(by_head.transpose(1, 2).reshape({count_ * padded_, -1}), 0, own_);
  }
  // to[places of the group's tokens] = rows
  void Scatter(const at::Tensor& to, const at::Tensor& rows) const {
    to.index_copy_(0, packed_, rows.to(to.scalar_type()));
  }
  // [heads, T] -> [count, heads, padded]
  at::Tensor GatherColumns(const at::Tensor& columns) const {
    return at::index_select(columns, 1, gathered_).view({-1, count_, padded_}).transpose(0, 1);
  }
  // [count, heads, padded] -> columns of [heads, T]
  void ScatterColumns(const at::Tensor& to, const at::Tensor& values) const {
    to.index_copy_(1, packed_, at::index_select(values.transpose(0, 1).reshape({-1, count_ * padded_}), 1, own_));
  }

 private:
  int64_t count_, padded_;
  at::Tensor gathered_, own_, packed_, beyond_;
};

// Query, key and value of a group, fp32 [count, heads, padded, head_dim]; heads that share keys have them repeated.
struct GroupQkv {
  GroupQkv(const at::Tensor& qkv, const GroupRows& rows, const AttentionShape& shape) {
    const auto part = [&](int64_t first, int64_t heads) {
      const at::Tensor own = rows.Heads(qkv, first, heads, shape.head_dim);
      return heads == shape.heads ? own : at::repeat_interleave(own, shape.heads / heads, 1);
    };
    q = part(0, shape.heads);
    k = part(shape.out_width(), shape.kv_heads);
    v = part(shape.out_width() + shape.key_width(), shape.kv_heads);
    scale = 1.0 / std::sqrt(static_cast<double>(shape.head_dim));
  }
  at::Tensor q, k, v;
  double scale;
};

// Which column of by_distance [heads, 2 r + 1] each pair of a query and a key of a sequence reads, int64 [length, length].
at::Tensor DistanceIndex(int64_t length, const at::Tensor& by_distance) {
  const int64_t farthest = by_distance.size(1) / 2;
  const at::Tensor position = at::arange(length, by_distance.options().dtype(at::kLong));
  return (position.unsqueeze(0) - position.unsqueeze(1)).clamp(-farthest, farthest) + farthest;
}

// Scaled scores [count, heads, padded, padded], raised by what distances say (by_distance undefined: nothing), -infinity
// where a token does not see another.
at::Tensor Scores(const GroupQkv& s, const GroupRows& rows, const AttentionShape& shape,
                  const at::Tensor& by_distance) {
  const int64_t padded = rows.padded();
  at::Tensor scores = at::matmul(s.q, s.k.transpose(2, 3)) * s.scale;
  if (by_distance.defined()) {
    scores = scores + at::index_select(by_distance, 1, DistanceIndex(padded, by_distance).view(-1))
                          .view({1, shape.heads, padded, padded});
  }
  at::Tensor hidden = rows.beyond().view({rows.count(), 1, 1, padded});
  if (shape.window >= 0 || shape.causal) {
    const at::Tensor position = at::arange(padded, hidden.options().dtype(at::kLong));
    const at::Tensor distance = position.unsqueeze(1) - position.unsqueeze(0);  // from the key on to the query
    if (shape.causal) hidden = hidden | (distance < 0);
    // A place beyond the sequence would see no key at all, and its NaN would spread to the keys' gradients.
    const at::Tensor of_a_token = ~rows.beyond().view({rows.count(), 1, padded, 1});
    if (shape.window >= 0) hidden = hidden | (of_a_token & (distance.abs() > shape.window));
  }
  return scores.masked_fill(hidden, -std::numeric_limits<double>::infinity());
}

// The dropout mask of a group's probabilities, [count, heads, padded, padded]; undefined if dropout is not active.
at::Tensor ProbabilityMask(const Group& group, const PackedBatch& batch, int64_t heads, const Dropout& dropout,
                           at::Device device) {
  if (!dropout.active()) return {};
  std::vector<int64_t> first;
  for (const int64_t sequence : group.sequences) {
    for (int64_t h = 0; h < heads; ++h)
      first.push_back(static_cast<int64_t>(FirstAttentionDropout(sequence, h, heads, batch.max_seqlen)));
  }
  return DropoutMask(dropout, first, group.padded * group.padded, device)
      .view({static_cast<int64_t>(group.sequences.size()), heads, group.padded, group.padded})
      .transpose(2, 3);
}

// Sums over the heads that share a key: [count, heads, padded, head_dim] -> [count, kv_heads, padded, head_dim].
at::Tensor Shared(const at::Tensor& gradient, const AttentionShape& shape) {
  if (shape.kv_heads == shape.heads) return gradient;
  return gradient
      .reshape({gradient.size(0), shape.kv_heads, shape.heads / shape.kv_heads, gradient.size(2), gradient.size(3)})
      .sum(2);
}

}  // namespace

AttentionResult Attend(const at::Tensor& qkv, const at::Tensor& by_distance, const PackedBatch& batch,
                       const AttentionShape& shape, const Dropout& dropout, bool keep) {
  const int64_t tokens = qkv.size(0), heads = shape.heads;
  AttentionResult result;
  result.out = at::empty({tokens, shape.out_width()}, qkv.options());
  if (keep) result.logsumexp = at::empty({heads, tokens}, qkv.options().dtype(at::kFloat));
  for (const Group& group : GroupsOf(batch, heads)) {
    const GroupRows rows(group, batch, qkv.device());
    const GroupQkv s(qkv, rows, shape);
    const at::Tensor scores = Scores(s, rows, shape, by_distance);
    at::Tensor probabilities = at::softmax(scores, 3);
    if (dropout.active()) probabilities = probabilities * ProbabilityMask(group, batch, heads, dropout, qkv.device());
    rows.Scatter(result.out, rows.Packed(at::matmul(probabilities, s.v)));
    if (keep) rows.ScatterColumns(result.logsumexp, at::logsumexp(scores, {3}));
  }
  return result;
}

RelativeAttentionGradients Gradients(const at::Tensor& g, const at::Tensor& qkv, const at::Tensor& by_distance,
                                     const at::Tensor& logsumexp, const PackedBatch& batch, const AttentionShape& shape,
                                     const Dropout& dropout) {
  at::Tensor gradient = at::empty_like(qkv), of_distances;
  const int64_t heads = shape.heads;
  if (by_distance.defined())
    of_distances = at::zeros({batch.sequences(), heads, by_distance.size(1)}, by_distance.options());
  for (const Group& group : GroupsOf(batch, heads)) {
    const GroupRows rows(group, batch, qkv.device());
    const GroupQkv s(qkv, rows, shape);
    const at::Tensor no_token = rows.beyond().view({rows.count(), 1, rows.padded(), 1});
    const at::Tensor dout = rows.Heads(g, 0, heads, shape.head_dim);
    const at::Tensor scores = Scores(s, rows, shape, by_distance);
    // Padding has no probabilities: nothing comes of its rows of the gradient.
    const at::Tensor p = at::exp(scores - rows.GatherColumns(logsumexp).unsqueeze(3)).masked_fill_(no_token, 0);
    const at::Tensor mask = ProbabilityMask(group, batch, heads, dropout, qkv.device());
    at::Tensor dp = at::matmul(dout, s.v.transpose(2, 3));
    if (mask.defined()) dp = dp * mask;
    const at::Tensor dv = at::matmul((mask.defined() ? p * mask : p).transpose(2, 3), dout);
    const at::Tensor of_scores = p * (dp - (dp * p).sum(3, true)), ds = of_scores * s.scale;
    if (by_distance.defined()) {
      const at::Tensor place = at::tensor(group.sequences, at::kLong).to(qkv.device());
      at::Tensor sums = at::zeros({rows.count(), heads, by_distance.size(1)}, by_distance.options());
      sums.index_add_(2, DistanceIndex(rows.padded(), by_distance).view(-1), of_scores.flatten(2));
      of_distances.index_copy_(0, place, sums);
    }
    const at::Tensor dq = at::matmul(ds, s.k), dk = at::matmul(ds.transpose(2, 3), s.q);
    rows.Scatter(gradient,
                 at::cat({rows.Packed(dq), rows.Packed(Shared(dk, shape)), rows.Packed(Shared(dv, shape))}, 1));
  }
  return {gradient, of_distances};
}

namespace {

AttentionResult Attention(const at::Tensor& qkv, const PackedBatch& batch, const AttentionShape& shape,
                          const Dropout& dropout, bool keep) {
  return Attend(qkv, at::Tensor(), batch, shape, dropout, keep);
}

at::Tensor AttentionGradient(const at::Tensor& g, const at::Tensor& qkv, const AttentionResult& kept,
                             const PackedBatch& batch, const AttentionShape& shape, const Dropout& dropout) {
  return Gradients(g, qkv, at::Tensor(), kept.logsumexp, batch, shape, dropout).qkv;
}

}  // namespace

void SetAttention(OpTable& table) {
  table.attention = Attention;
  table.attention_gradient = AttentionGradient;
}

}  // namespace engram::nn::ops::reference
