#include "core/nn/ops.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/empty_like.h"
#include "ATen/ops/index_select.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/log_softmax.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/repeat_interleave.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"
#include "core/nn/kernels/cpu_kernels.h"
#include "core/nn/kernels/linear.h"
#include "core/nn/reference_ops.h"

namespace engram::nn::ops {
namespace {
bool OnCpu(const at::Tensor& x) { return x.device().is_cpu(); }

std::optional<at::Tensor> Optional(const at::Tensor& x) { return x.defined() ? std::optional(x) : std::nullopt; }
}  // namespace

at::Tensor Linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) {
  return OnCpu(x) ? kernels::Linear(x, w, b) : at::linear(x, w, Optional(b));
}

at::Tensor LinearInputGradient(const at::Tensor& g, const at::Tensor& w) {
  return OnCpu(g) ? kernels::Linear(g, w.t(), at::Tensor()) : at::mm(g, w);
}

void LinearWeightGradient(const at::Tensor& g, const at::Tensor& x, const at::Tensor& grad_w,
                          const at::Tensor& grad_b) {
  if (grad_w.defined()) grad_w.add_(OnCpu(g) ? kernels::TransposedProduct(g, x) : at::mm(g.t(), x));
  if (!grad_b.defined()) return;
  if (OnCpu(g)) {
    kernels::ColumnSums(g.contiguous(), at::Tensor(), grad_b, at::Tensor());
  } else {
    grad_b.add_(g.sum(0, /*keepdim=*/false, at::kFloat));
  }
}

at::Tensor LinearActivation(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b, Activation act,
                            at::Tensor* pre) {
  at::Tensor linear = Linear(x, w, b);
  if (pre != nullptr) *pre = linear;
  return reference::Activate(linear, act);
}

at::Tensor ActivationGradient(const at::Tensor& g, const at::Tensor& pre, Activation act) {
  // The kernel's erf is good to 1.5e-7, far below what bf16 keeps; fp32 takes ATen's, which is good to rounding.
  if (OnCpu(g) && act == Activation::kGelu && g.scalar_type() == at::kBFloat16) {
    return kernels::GeluGradient(g.contiguous(), pre);
  }
  return reference::ActivationGradient(g, pre, act);
}

LayerNormResult AddLayerNorm(const at::Tensor& x, const at::Tensor& residual, const Dropout& dropout,
                             const at::Tensor& gamma, const at::Tensor& beta, double eps, bool keep) {
  return OnCpu(x) ? kernels::AddLayerNorm(x, residual, dropout, gamma, beta, eps, keep)
                  : reference::AddLayerNorm(x, residual, dropout, gamma, beta, eps, keep);
}

AddLayerNormGradientResult AddLayerNormGradient(const at::Tensor& g, const at::Tensor& normalized,
                                                const at::Tensor& rstd, const at::Tensor& gamma,
                                                const Dropout& dropout) {
  return OnCpu(g) ? kernels::AddLayerNormGradient(g, normalized, rstd, gamma, dropout)
                  : reference::AddLayerNormGradient(g, normalized, rstd, gamma, dropout);
}

void LayerNormWeightGradient(const at::Tensor& g, const at::Tensor& normalized, const at::Tensor& grad_gamma,
                             const at::Tensor& grad_beta) {
  if (OnCpu(g)) {
    kernels::ColumnSums(g.contiguous(), normalized, grad_beta, grad_gamma);
  } else {
    reference::LayerNormWeightGradient(g, normalized, grad_gamma, grad_beta);
  }
}

at::Tensor ApplyDropout(const at::Tensor& x, const Dropout& dropout) {
  return OnCpu(x) ? kernels::ApplyDropout(x, dropout) : reference::ApplyDropout(x, dropout);
}

AttentionResult Attention(const at::Tensor& qkv, const PackedBatch& batch, int64_t heads, const Dropout& dropout,
                          bool keep) {
  return OnCpu(qkv) ? kernels::Attention(qkv, batch, heads, dropout, keep)
                    : reference::Attention(qkv, batch, heads, dropout, keep);
}

at::Tensor AttentionGradient(const at::Tensor& g, const at::Tensor& qkv, const at::Tensor& logsumexp,
                             const PackedBatch& batch, int64_t heads, const Dropout& dropout) {
  return OnCpu(qkv) ? kernels::AttentionGradient(g, qkv, logsumexp, batch, heads, dropout)
                    : reference::AttentionGradient(g, qkv, logsumexp, batch, heads, dropout);
}

at::Tensor EmbeddingSum(const PackedBatch& batch, const at::Tensor& word, const at::Tensor& type,
                        const at::Tensor& position, int64_t first_position) {
  return OnCpu(word) ? kernels::EmbeddingSum(batch, word, type, position, first_position)
                     : reference::EmbeddingSum(batch, word, type, position, first_position);
}

void EmbeddingWeightGradient(const at::Tensor& g, const at::Tensor& index, const at::Tensor& grad_table) {
  if (OnCpu(g)) {
    kernels::EmbeddingWeightGradient(g, index, grad_table);
  } else {
    reference::EmbeddingWeightGradient(g, index, grad_table);
  }
}

namespace {

at::Tensor HostFloats(const std::vector<float>& values, at::Device device) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kFloat);
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<float>());
  return tensor.to(device);
}

// The sequence that each row belongs to, int64 [T].
at::Tensor SequenceOfRow(const PackedBatch& batch) {
  const at::Tensor lengths =
      (batch.cu_seqlens.narrow(0, 1, batch.sequences()) - batch.cu_seqlens.narrow(0, 0, batch.sequences()))
          .to(at::kLong);
  return at::repeat_interleave(at::arange(batch.sequences(), lengths.options()), lengths);
}

at::Tensor InverseLengths(const PackedBatch& batch, at::Device device) {
  std::vector<float> inverse;
  for (int64_t i = 0; i < batch.sequences(); ++i) inverse.push_back(1.0F / static_cast<float>(batch.length(i)));
  return HostFloats(inverse, device);
}

}  // namespace

at::Tensor MeanPool(const at::Tensor& hidden, const PackedBatch& batch) {
  at::Tensor sums = at::zeros({batch.sequences(), hidden.size(1)}, hidden.options().dtype(at::kFloat));
  for (int64_t i = 0; i < batch.sequences(); ++i) {
    sums.select(0, i).copy_(hidden.narrow(0, batch.host_cu_seqlens[i], batch.length(i)).sum(0, false, at::kFloat));
  }
  return (sums * InverseLengths(batch, hidden.device()).unsqueeze(1)).to(hidden.scalar_type());
}

at::Tensor MeanPoolGradient(const at::Tensor& g, const PackedBatch& batch) {
  const at::Tensor scaled = g.to(at::kFloat) * InverseLengths(batch, g.device()).unsqueeze(1);
  return at::index_select(scaled.to(g.scalar_type()), 0, SequenceOfRow(batch));
}

at::Tensor FirstToken(const at::Tensor& hidden, const PackedBatch& batch) {
  return at::index_select(hidden, 0, batch.cu_seqlens.narrow(0, 0, batch.sequences()));
}

at::Tensor FirstTokenGradient(const at::Tensor& g, const PackedBatch& batch) {
  at::Tensor gradient = at::zeros({batch.tokens(), g.size(1)}, g.options());
  gradient.index_copy_(0, batch.cu_seqlens.narrow(0, 0, batch.sequences()).to(at::kLong), g);
  return gradient;
}

CrossEntropyResult CrossEntropy(const at::Tensor& logits, const at::Tensor& target, const at::Tensor& weight) {
  const at::Tensor counted = (target != kIgnored).to(at::kFloat);
  const at::Tensor scale = weight.defined() ? counted * weight : counted;
  const at::Tensor safe = target.clamp_min(0).unsqueeze(1);
  const at::Tensor log_probabilities = at::log_softmax(logits, 1);
  CrossEntropyResult result;
  result.loss = -log_probabilities.gather(1, safe).squeeze(1) * scale;
  // At the target p - 1 is minus the sum of the others: subtracting would leave few digits where p is near 1.
  result.grad = log_probabilities.exp().scatter_(1, safe, 0.0);
  result.grad.scatter_(1, safe, -result.grad.sum(1, /*keepdim=*/true));
  result.grad.mul_(scale.unsqueeze(1));
  return result;
}

namespace {

// total += weight * gradient^2, or weight * |gradient|.
void AddPower(const at::Tensor& total, const at::Tensor& gradient, float weight, bool absolute) {
  if (absolute) {
    total.add_(gradient.abs(), weight);
  } else {
    total.addcmul_(gradient, gradient, weight);
  }
}

}  // namespace

void SquaredLinearGradient(const at::Tensor& g, const at::Tensor& x, std::span<const int32_t> cu_rows,
                           std::span<const float> weight, bool absolute, const at::Tensor& square_w,
                           const at::Tensor& square_b) {
  const bool blocked = square_w.defined() && OnCpu(g) && g.scalar_type() == at::kFloat;
  if (blocked) kernels::AddSquaredProducts(g.contiguous(), x.contiguous(), cu_rows, weight, absolute, square_w);
  at::Tensor scratch = square_w.defined() && !blocked ? at::empty_like(square_w) : at::Tensor();
  for (size_t n = 0; n < weight.size(); ++n) {
    const int64_t rows = cu_rows[n + 1] - cu_rows[n];
    if (rows == 0) continue;
    const at::Tensor gn = g.narrow(0, cu_rows[n], rows);
    if (square_w.defined() && !blocked) {
      const at::Tensor xn = x.narrow(0, cu_rows[n], rows);
      if (g.scalar_type() == at::kFloat) {
        at::mm_out(scratch, gn.t(), xn);
        AddPower(square_w, scratch, weight[n], absolute);
      } else {
        AddPower(square_w, at::mm(gn.to(at::kFloat).t(), xn.to(at::kFloat)), weight[n], absolute);
      }
    }
    if (square_b.defined()) AddPower(square_b, gn.sum(0, false, at::kFloat), weight[n], absolute);
  }
}

void SquaredLayerNormGradient(const at::Tensor& g, const at::Tensor& normalized, std::span<const int32_t> cu_rows,
                              std::span<const float> weight, bool absolute, const at::Tensor& square_gamma,
                              const at::Tensor& square_beta) {
  for (size_t n = 0; n < weight.size(); ++n) {
    const int64_t rows = cu_rows[n + 1] - cu_rows[n];
    if (rows == 0) continue;
    const at::Tensor gn = g.narrow(0, cu_rows[n], rows).to(at::kFloat);
    AddPower(square_gamma, (gn * normalized.narrow(0, cu_rows[n], rows).to(at::kFloat)).sum(0), weight[n], absolute);
    AddPower(square_beta, gn.sum(0), weight[n], absolute);
  }
}

void SquaredEmbeddingGradient(const at::Tensor& g, const at::Tensor& index, std::span<const int32_t> cu_rows,
                              std::span<const float> weight, bool absolute, const at::Tensor& square_table) {
  const at::Tensor host = index.cpu();
  const int32_t* id = host.const_data_ptr<int32_t>();
  for (size_t n = 0; n < weight.size(); ++n) {
    const int64_t first = cu_rows[n], rows = cu_rows[n + 1] - cu_rows[n];
    std::vector<int32_t> unique(id + first, id + first + rows);
    std::sort(unique.begin(), unique.end());
    unique.erase(std::unique(unique.begin(), unique.end()), unique.end());
    at::Tensor place = at::empty({rows}, at::kLong),
               table_rows = at::empty({static_cast<int64_t>(unique.size())}, at::kLong);
    std::copy(unique.begin(), unique.end(), table_rows.mutable_data_ptr<int64_t>());
    for (int64_t t = 0; t < rows; ++t) {
      place.mutable_data_ptr<int64_t>()[t] =
          std::lower_bound(unique.begin(), unique.end(), id[first + t]) - unique.begin();
    }
    at::Tensor sums = at::zeros({static_cast<int64_t>(unique.size()), g.size(1)}, g.options().dtype(at::kFloat));
    sums.index_add_(0, place.to(g.device()), g.narrow(0, first, rows).to(at::kFloat));
    const at::Tensor powers = absolute ? sums.abs() : sums.square();
    square_table.index_add_(0, table_rows.to(g.device()), powers, weight[n]);
  }
}

}  // namespace engram::nn::ops
