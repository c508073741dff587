#include <cmath>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/empty_like.h"
#include "ATen/ops/exp.h"
#include "ATen/ops/logsumexp.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/softmax.h"
#include "ATen/ops/stack.h"
#include "core/nn/ops/dropout/dropout_bits.h"
#include "core/nn/ops/dropout/dropout_mask.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::reference {
namespace {

// Query, key and value of one sequence, fp32 [heads, length, head_dim].
struct SequenceQkv {
  SequenceQkv(const at::Tensor& qkv, const PackedBatch& batch, int64_t i, int64_t heads) {
    const int64_t length = batch.length(i), d = qkv.size(1) / 3, head_width = d / heads;
    const at::Tensor rows = qkv.narrow(0, batch.host_cu_seqlens[i], length).to(at::kFloat);
    const auto part = [&](int64_t which) {
      return rows.narrow(1, which * d, d).reshape({length, heads, head_width}).transpose(0, 1).contiguous();
    };
    q = part(0), k = part(1), v = part(2);
    scale = 1.0 / std::sqrt(static_cast<double>(head_width));
  }
  at::Tensor q, k, v;
  double scale;
};

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

AttentionResult Attention(const at::Tensor& qkv, const PackedBatch& batch, int64_t heads, const Dropout& dropout,
                          bool keep) {
  const int64_t tokens = qkv.size(0), d = qkv.size(1) / 3;
  AttentionResult result;
  result.out = at::empty({tokens, d}, qkv.options());
  if (keep) result.logsumexp = at::empty({heads, tokens}, qkv.options().dtype(at::kFloat));
  for (int64_t i = 0; i < batch.sequences(); ++i) {
    const SequenceQkv s(qkv, batch, i, heads);
    const at::Tensor scores = at::matmul(s.q, s.k.transpose(1, 2)) * s.scale;
    at::Tensor probabilities = at::softmax(scores, 2);
    if (dropout.active()) probabilities = probabilities * ProbabilityMask(batch, i, heads, dropout, qkv.device());
    result.out.narrow(0, batch.host_cu_seqlens[i], batch.length(i)).copy_(Rows(at::matmul(probabilities, s.v)));
    if (keep) result.logsumexp.narrow(1, batch.host_cu_seqlens[i], batch.length(i)).copy_(at::logsumexp(scores, {2}));
  }
  return result;
}

at::Tensor AttentionGradient(const at::Tensor& g, const at::Tensor& qkv, const at::Tensor& logsumexp,
                             const PackedBatch& batch, int64_t heads, const Dropout& dropout) {
  at::Tensor gradient = at::empty_like(qkv);
  const int64_t d = qkv.size(1) / 3;
  for (int64_t i = 0; i < batch.sequences(); ++i) {
    const int64_t first = batch.host_cu_seqlens[i], length = batch.length(i);
    const SequenceQkv s(qkv, batch, i, heads);
    const at::Tensor dout =
        g.narrow(0, first, length).to(at::kFloat).reshape({length, heads, d / heads}).transpose(0, 1);
    const at::Tensor scores = at::matmul(s.q, s.k.transpose(1, 2)) * s.scale;
    const at::Tensor p = at::exp(scores - logsumexp.narrow(1, first, length).unsqueeze(2));
    const at::Tensor mask = ProbabilityMask(batch, i, heads, dropout, qkv.device());
    at::Tensor dp = at::matmul(dout, s.v.transpose(1, 2));
    if (mask.defined()) dp = dp * mask;
    const at::Tensor dv = at::matmul((mask.defined() ? p * mask : p).transpose(1, 2), dout);
    const at::Tensor ds = p * (dp - (dp * p).sum(2, true)) * s.scale;
    const at::Tensor dq = at::matmul(ds, s.k), dk = at::matmul(ds.transpose(1, 2), s.q);
    gradient.narrow(0, first, length).copy_(at::cat({Rows(dq), Rows(dk), Rows(dv)}, 1));
  }
  return gradient;
}

}  // namespace

void SetAttention(OpTable& table) {
  table.attention = Attention;
  table.attention_gradient = AttentionGradient;
}

}  // namespace engram::nn::ops::reference
