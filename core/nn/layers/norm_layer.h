#pragma once

// LayerNorm or RMSNorm of a sum with a residual branch.

#include "core/checkpoint/tensor_names.h"
#include "core/nn/layers/pass.h"
#include "core/nn/ops/layer_norm/layer_norm.h"

namespace engram::nn {

class NormLayer {
 public:
  using Tape = ops::LayerNormResult;

  NormLayer() = default;
  NormLayer(checkpoint::NormKind kind, double eps) : kind_(kind), eps_(eps) {}

  void Append(const checkpoint::ExpectedTensor& tensor, SlotId slot) { (tensor.bias ? beta_ : gamma_) = slot; }
  bool exists() const { return gamma_ >= 0; }

  // norm(dropout(x) + residual); residual undefined: norm(dropout(x)).
  ops::LayerNormResult Forward(const at::Tensor& x, const at::Tensor& residual, const ops::Dropout& dropout,
                               const ForwardPass& pass) const;
  // `kept`: what Forward returned, `dropout` what it was given. The gradients of the residual branch and of x.
  ops::AddLayerNormGradientResult Backward(at::Tensor g, const ops::LayerNormResult& kept, const ops::Dropout& dropout,
                                           const BackwardPass& pass) const;
  // Of rows that are no tokens' (the heads of a token): `rows` says whose they are.
  at::Tensor BackwardOfRows(const at::Tensor& g, const ops::LayerNormResult& kept, const RowOwners& rows,
                            const BackwardPass& pass) const;

 private:
  checkpoint::NormKind kind_ = checkpoint::NormKind::kLayerNorm;
  double eps_ = 1e-12;
  SlotId gamma_ = -1, beta_ = -1;
};

}  // namespace engram::nn
