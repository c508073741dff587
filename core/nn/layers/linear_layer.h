#pragma once

// One or several linear layers on the same input, whose matrices lie one behind the other in the buffer: y = x W^T + b.

#include "core/checkpoint/tensor_names.h"
#include "core/nn/layers/pass.h"

namespace engram::nn {

class LinearLayer {
 public:
  // Takes one of its tensors; the first weight and the first bias decide where the others lie.
  void Append(const checkpoint::ExpectedTensor& tensor, SlotId slot);

  // Keeps a copy of the matrix in the layout that this processor multiplies with fastest, for passes that keep nothing.
  void Pack(const ParameterBuffer& parameters);
  void Unpack() { packed_.reset(); }

  at::Tensor Forward(const at::Tensor& x, const ForwardPass& pass) const;
  // The gradient of x, and `more` if it is defined. The parameters' go to the sink.
  at::Tensor Backward(at::Tensor g, at::Tensor x, const at::Tensor& more, const BackwardPass& pass) const;

  at::Tensor Weight(const ForwardPass& pass) const;
  at::Tensor Bias(const ParameterBuffer& parameters) const;  // undefined: none

  SlotId weight() const { return weight_; }
  SlotId bias() const { return bias_; }

 private:
  SlotId weight_ = -1, bias_ = -1;
  int count_ = 0;
  at::Tensor packed_;
};

}  // namespace engram::nn
