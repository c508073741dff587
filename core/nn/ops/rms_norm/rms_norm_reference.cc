#include "ATen/TensorOperators.h"
#include "ATen/ops/mean.h"
#include "ATen/ops/rsqrt.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::reference {
namespace {

LayerNormResult RmsNorm(const at::Tensor& x, const at::Tensor& gamma, double eps, bool keep) {
  const at::Tensor x32 = x.to(at::kFloat);
  const at::Tensor rstd = at::rsqrt(x32.square().mean(1, /*keepdim=*/true) + eps);
  const at::Tensor normalized = x32 * rstd;
  LayerNormResult result;
  result.y = (normalized * gamma.to(at::kFloat)).to(x.scalar_type());
  if (keep) {
    result.normalized = normalized.to(x.scalar_type());
    result.rstd = rstd.squeeze(1);
  }
  return result;
}

at::Tensor RmsNormGradient(const at::Tensor& g, const at::Tensor& normalized, const at::Tensor& rstd,
                           const at::Tensor& gamma) {
  const at::Tensor dn = g.to(at::kFloat) * gamma.to(at::kFloat), n = normalized.to(at::kFloat);
  return ((dn - n * (dn * n).mean(1, /*keepdim=*/true)) * rstd.unsqueeze(1)).to(g.scalar_type());
}

}  // namespace

void SetRmsNorm(OpTable& table) {
  table.rms_norm = RmsNorm;
  table.rms_norm_gradient = RmsNormGradient;
}

}  // namespace engram::nn::ops::reference
