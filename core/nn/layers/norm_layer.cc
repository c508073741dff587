#include "core/nn/layers/norm_layer.h"

#include "ATen/TensorOperators.h"
#include "core/nn/ops/rms_norm/rms_norm.h"

namespace engram::nn {

ops::LayerNormResult NormLayer::Forward(const at::Tensor& x, const at::Tensor& residual, const ops::Dropout& dropout,
                                        const ForwardPass& pass) const {
  const ParameterBuffer& p = pass.parameters;
  if (kind_ == checkpoint::NormKind::kLayerNorm) {
    return ops::AddLayerNorm(x, residual, dropout, p.Compute(gamma_), beta_ >= 0 ? p.Compute(beta_) : at::Tensor(),
                             eps_, pass.keep);
  }
  const at::Tensor dropped = ops::ApplyDropout(x, dropout);
  return ops::RmsNorm(residual.defined() ? dropped + residual : dropped, p.Compute(gamma_), eps_, pass.keep);
}

ops::AddLayerNormGradientResult NormLayer::Backward(at::Tensor g, const ops::LayerNormResult& kept,
                                                    const ops::Dropout& dropout, const BackwardPass& pass) const {
  if (kind_ == checkpoint::NormKind::kLayerNorm) {
    pass.sink.LayerNorm(gamma_, beta_, kept.normalized, g, pass.rows);
    return ops::AddLayerNormGradient(g, kept.normalized, kept.rstd, pass.parameters.Compute(gamma_), dropout);
  }
  const at::Tensor sum = BackwardOfRows(g, kept, pass.rows, pass);
  return {sum, ops::ApplyDropout(sum, dropout)};
}

at::Tensor NormLayer::BackwardOfRows(const at::Tensor& g, const ops::LayerNormResult& kept, const RowOwners& rows,
                                     const BackwardPass& pass) const {
  const at::Tensor gamma = pass.parameters.Compute(gamma_);
  pass.sink.LayerNorm(gamma_, beta_, kept.normalized, g, rows);
  if (kind_ == checkpoint::NormKind::kLayerNorm)
    return ops::AddLayerNormGradient(g, kept.normalized, kept.rstd, gamma, {}).residual;
  return ops::RmsNormGradient(g, kept.normalized, kept.rstd, gamma);
}

}  // namespace engram::nn
