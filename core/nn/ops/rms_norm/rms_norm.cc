#include "core/nn/ops/rms_norm/rms_norm.h"

#include "core/nn/ops/op_table.h"

namespace engram::nn::ops {

LayerNormResult RmsNorm(const at::Tensor& x, const at::Tensor& gamma, double eps, bool keep) {
  return OpsFor(x.device()).rms_norm(x, gamma, eps, keep);
}

at::Tensor RmsNormGradient(const at::Tensor& g, const at::Tensor& normalized, const at::Tensor& rstd,
                           const at::Tensor& gamma) {
  return OpsFor(g.device()).rms_norm_gradient(g, normalized, rstd, gamma);
}

}  // namespace engram::nn::ops
