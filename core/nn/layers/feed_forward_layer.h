#pragma once

// W2 act(W1 x), or gated W2 (act(Wg x) * W1 x).

#include "core/checkpoint/tensor_names.h"
#include "core/nn/layers/linear_layer.h"

namespace engram::nn {

class FeedForwardLayer {
 public:
  struct Tape {
    at::Tensor input, pre_activation, activated;
  };

  FeedForwardLayer() = default;
  FeedForwardLayer(const EncoderConfig& config, size_t layer)
      : layer_(layer), gated_(config.family->block.gated), activation_(config.activation) {}
  bool Append(const checkpoint::ExpectedTensor& tensor, SlotId slot);
  void Pack(const ParameterBuffer& parameters);
  void Unpack();

  // x [T, hidden] -> [T, hidden], before dropout and the residual sum. `tape` is filled where the pass keeps.
  at::Tensor Forward(const at::Tensor& x, const ForwardPass& pass, Tape* tape) const;
  at::Tensor Backward(at::Tensor g, Tape kept, const BackwardPass& pass) const;

 private:
  size_t layer_ = 0;
  bool gated_ = false;
  Activation activation_ = Activation::kGelu;
  LinearLayer input_, output_;
};

}  // namespace engram::nn
