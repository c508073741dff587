#include "core/nn/layers/linear_layer.h"

#include "core/nn/ops/linear/linear.h"

namespace engram::nn {

void LinearLayer::Append(const checkpoint::ExpectedTensor& tensor, SlotId slot) {
  if (!tensor.bias) ++count_;
  SlotId& first = tensor.bias ? bias_ : weight_;
  if (first < 0) first = slot;
}

void LinearLayer::Pack(const ParameterBuffer& parameters) {
  packed_ = ops::PackWeight(parameters.ComputeStacked(weight_, count_));
}

at::Tensor LinearLayer::Weight(const ForwardPass& pass) const {
  return packed_.defined() && !pass.keep ? packed_ : pass.parameters.ComputeStacked(weight_, count_);
}

at::Tensor LinearLayer::Bias(const ParameterBuffer& parameters) const {
  return bias_ >= 0 ? parameters.ComputeStacked(bias_, count_) : at::Tensor();
}

at::Tensor LinearLayer::Forward(const at::Tensor& x, const ForwardPass& pass) const {
  return ops::Linear(x, Weight(pass), Bias(pass.parameters));
}

at::Tensor LinearLayer::Backward(at::Tensor g, at::Tensor x, const at::Tensor& more, const BackwardPass& pass) const {
  pass.sink.Linear(weight_, bias_, count_, x, g, pass.rows);
  x.reset();
  at::Tensor gradient = ops::LinearInputGradient(g, pass.parameters.ComputeStacked(weight_, count_));
  return more.defined() ? gradient.add_(more) : gradient;
}

}  // namespace engram::nn
