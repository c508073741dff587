#include "core/nn/reference_ops.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/empty_like.h"
#include "ATen/ops/erf.h"
#include "ATen/ops/exp.h"
#include "ATen/ops/gelu.h"
#include "ATen/ops/gelu_backward.h"
#include "ATen/ops/index_select.h"
#include "ATen/ops/logsumexp.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/mean.h"
#include "ATen/ops/relu.h"
#include "ATen/ops/rsqrt.h"
#include "ATen/ops/sigmoid.h"
#include "ATen/ops/silu.h"
#include "ATen/ops/softmax.h"
#include "ATen/ops/stack.h"
#include "ATen/ops/tanh.h"
#include "core/nn/dropout_bits.h"

namespace engram::nn::reference {

using ops::Dropout;

at::Tensor DropoutMask(const Dropout& dropout, int64_t first, int64_t count, at::Device device) {
  at::Tensor mask = at::empty({count}, at::kFloat);
  const DropoutBits bits(dropout);
  float* out = mask.mutable_data_ptr<float>();
  for (int64_t done = 0; done < count;) {
    const int64_t element = first + done, in_group = element % DropoutBits::kGroup;
    const int64_t taken = std::min(count - done, DropoutBits::kGroup - in_group);
    const auto group = bits.Group(static_cast<uint64_t>(element / DropoutBits::kGroup));
    std::copy_n(group.begin() + in_group, taken, out + done);
    done += taken;
  }
  return mask.to(device);
}

at::Tensor ApplyDropout(const at::Tensor& x, const Dropout& dropout) {
  if (!dropout.active()) return x;
  return (x.to(at::kFloat) * DropoutMask(dropout, 0, x.numel(), x.device()).view(x.sizes())).to(x.scalar_type());
}

ops::LayerNormResult AddLayerNorm(const at::Tensor& x, const at::Tensor& residual, const Dropout& dropout,
                                  const at::Tensor& gamma, const at::Tensor& beta, double eps, bool keep) {
  at::Tensor sum = x.to(at::kFloat);
  if (dropout.active()) sum = sum * DropoutMask(dropout, 0, x.numel(), x.device()).view(x.sizes());
  if (residual.defined()) sum = sum + residual.to(at::kFloat);
  const at::Tensor centred = sum - sum.mean(1, /*keepdim=*/true);
  const at::Tensor rstd = at::rsqrt(centred.square().mean(1, /*keepdim=*/true) + eps);
  const at::Tensor normalized = centred * rstd;
  ops::LayerNormResult result;
  result.y = (normalized * gamma.to(at::kFloat) + beta.to(at::kFloat)).to(x.scalar_type());
  if (keep) {
    result.normalized = normalized.to(x.scalar_type());
    result.rstd = rstd.squeeze(1);
  }
  return result;
}

ops::AddLayerNormGradientResult AddLayerNormGradient(const at::Tensor& g, const at::Tensor& normalized,
                                                     const at::Tensor& rstd, const at::Tensor& gamma,
                                                     const Dropout& dropout) {
  const at::Tensor dn = g.to(at::kFloat) * gamma.to(at::kFloat), n = normalized.to(at::kFloat);
  const at::Tensor ds = (dn - dn.mean(1, true) - n * (dn * n).mean(1, true)) * rstd.unsqueeze(1);
  ops::AddLayerNormGradientResult result;
  result.residual = ds.to(g.scalar_type());
  result.x = dropout.active()
                 ? (ds * DropoutMask(dropout, 0, g.numel(), g.device()).view(g.sizes())).to(g.scalar_type())
                 : result.residual;
  return result;
}

void LayerNormWeightGradient(const at::Tensor& g, const at::Tensor& normalized, const at::Tensor& grad_gamma,
                             const at::Tensor& grad_beta) {
  const at::Tensor g32 = g.to(at::kFloat);
  grad_gamma.add_((g32 * normalized.to(at::kFloat)).sum(0));
  grad_beta.add_(g32.sum(0));
}

at::Tensor Activate(const at::Tensor& pre, Activation act) {
  switch (act) {
    case Activation::kGelu:
      return at::gelu(pre, "none");
    case Activation::kGeluTanh:
      return at::gelu(pre, "tanh");
    case Activation::kRelu:
      return at::relu(pre);
    case Activation::kSilu:
      return at::silu(pre);
    case Activation::kTanh:
      break;
  }
  return at::tanh(pre);
}

at::Tensor ActivationGradient(const at::Tensor& g, const at::Tensor& pre, Activation act) {
  const at::Tensor x = pre.to(at::kFloat), g32 = g.to(at::kFloat);
  at::Tensor gradient;
  switch (act) {
    case Activation::kGelu:
      gradient = at::gelu_backward(g32, x, "none");
      break;
    case Activation::kGeluTanh:
      gradient = at::gelu_backward(g32, x, "tanh");
      break;
    case Activation::kRelu:
      gradient = g32 * (x > 0).to(at::kFloat);
      break;
    case Activation::kSilu: {
      const at::Tensor s = at::sigmoid(x);
      gradient = g32 * (s * (1 + x * (1 - s)));
      break;
    }
    case Activation::kTanh:
      gradient = g32 * (1 - at::tanh(x).square());
      break;
  }
  return gradient.to(g.scalar_type());
}

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
    const auto first = static_cast<int64_t>(FirstAttentionDropout(i, h, heads));
    by_key.push_back(DropoutMask(dropout, first, length * stride, device).view({length, stride}).narrow(1, 0, length));
  }
  return at::stack(by_key).transpose(1, 2);
}

at::Tensor Rows(const at::Tensor& heads_first) {  // [heads, length, head_dim] -> [length, d]
  return heads_first.transpose(0, 1).reshape({heads_first.size(1), -1});
}

}  // namespace

ops::AttentionResult Attention(const at::Tensor& qkv, const PackedBatch& batch, int64_t heads, const Dropout& dropout,
                               bool keep) {
  const int64_t tokens = qkv.size(0), d = qkv.size(1) / 3;
  ops::AttentionResult result;
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

at::Tensor EmbeddingSum(const PackedBatch& batch, const at::Tensor& word, const at::Tensor& type,
                        const at::Tensor& position, int64_t first_position) {
  at::Tensor sum = at::index_select(word, 0, batch.ids).to(at::kFloat);
  if (position.defined()) sum = sum + at::index_select(position, 0, batch.positions + first_position).to(at::kFloat);
  if (type.defined()) sum = sum + at::index_select(type, 0, batch.type_ids).to(at::kFloat);
  return sum.to(word.scalar_type());
}

void EmbeddingWeightGradient(const at::Tensor& g, const at::Tensor& index, const at::Tensor& grad_table) {
  grad_table.index_add_(0, index, g.to(at::kFloat));
}

}  // namespace engram::nn::reference
