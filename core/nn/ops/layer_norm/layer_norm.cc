#include "core/nn/ops/layer_norm/layer_norm.h"

#include "ATen/ops/zeros_like.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops {

LayerNormResult AddLayerNorm(const at::Tensor& x, const at::Tensor& residual, const Dropout& dropout,
                             const at::Tensor& gamma, const at::Tensor& beta, double eps, bool keep) {
  return OpsFor(x.device())
      .add_layer_norm(x, residual, dropout, gamma, beta.defined() ? beta : at::zeros_like(gamma), eps, keep);
}

AddLayerNormGradientResult AddLayerNormGradient(const at::Tensor& g, const at::Tensor& normalized,
                                                const at::Tensor& rstd, const at::Tensor& gamma,
                                                const Dropout& dropout) {
  return OpsFor(g.device()).add_layer_norm_gradient(g, normalized, rstd, gamma, dropout);
}

void LayerNormWeightGradient(const at::Tensor& g, const at::Tensor& normalized, const at::Tensor& grad_gamma,
                             const at::Tensor& grad_beta) {
  OpsFor(g.device())
      .layer_norm_weight_gradient(g, normalized, grad_gamma,
                                  grad_beta.defined() ? grad_beta : at::zeros_like(grad_gamma));
}

}  // namespace engram::nn::ops
