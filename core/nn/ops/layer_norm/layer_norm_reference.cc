#include "ATen/TensorOperators.h"
#include "ATen/ops/mean.h"
#include "ATen/ops/rsqrt.h"
#include "core/nn/ops/dropout/dropout_mask.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::reference {
namespace {

LayerNormResult AddLayerNorm(const at::Tensor& x, const at::Tensor& residual, const Dropout& dropout,
                             const at::Tensor& gamma, const at::Tensor& beta, double eps, bool keep) {
  at::Tensor sum = x.to(at::kFloat);
  if (dropout.active()) sum = sum * MaskLike(x, dropout);
  if (residual.defined()) sum = sum + residual.to(at::kFloat);
  const at::Tensor centred = sum - sum.mean(1, /*keepdim=*/true);
  const at::Tensor rstd = at::rsqrt(centred.square().mean(1, /*keepdim=*/true) + eps);
  const at::Tensor normalized = centred * rstd;
  LayerNormResult result;
  result.y = (normalized * gamma.to(at::kFloat) + beta.to(at::kFloat)).to(x.scalar_type());
  if (keep) {
    result.normalized = normalized.to(x.scalar_type());
    result.rstd = rstd.squeeze(1);
  }
  return result;
}

AddLayerNormGradientResult AddLayerNormGradient(const at::Tensor& g, const at::Tensor& normalized,
                                                const at::Tensor& rstd, const at::Tensor& gamma,
                                                const Dropout& dropout) {
  const at::Tensor dn = g.to(at::kFloat) * gamma.to(at::kFloat), n = normalized.to(at::kFloat);
  const at::Tensor ds = (dn - dn.mean(1, true) - n * (dn * n).mean(1, true)) * rstd.unsqueeze(1);
  AddLayerNormGradientResult result;
  result.residual = ds.to(g.scalar_type());
  result.x = dropout.active() ? (ds * MaskLike(g, dropout)).to(g.scalar_type()) : result.residual;
  return result;
}

void LayerNormWeightGradient(const at::Tensor& g, const at::Tensor& normalized, const at::Tensor& grad_gamma,
                             const at::Tensor& grad_beta) {
  const at::Tensor g32 = g.to(at::kFloat);
  grad_gamma.add_((g32 * normalized.to(at::kFloat)).sum(0));
  grad_beta.add_(g32.sum(0));
}

}  // namespace

void SetLayerNorm(OpTable& table) {
  table.add_layer_norm = AddLayerNorm;
  table.add_layer_norm_gradient = AddLayerNormGradient;
  table.layer_norm_weight_gradient = LayerNormWeightGradient;
}

}  // namespace engram::nn::ops::reference
