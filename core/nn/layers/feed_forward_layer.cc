#include "core/nn/layers/feed_forward_layer.h"

#include <utility>

#include "core/nn/ops/activation/activation.h"
#include "core/nn/ops/gated_activation/gated_activation.h"

namespace engram::nn {

bool FeedForwardLayer::Append(const checkpoint::ExpectedTensor& tensor, SlotId slot) {
  using Role = checkpoint::TensorRole;
  const bool input = tensor.role == Role::kGate || tensor.role == Role::kIntermediate;
  if (!input && tensor.role != Role::kOutput) return false;
  (input ? input_ : output_).Append(tensor, slot);
  return true;
}

void FeedForwardLayer::Pack(const ParameterBuffer& parameters) {
  input_.Pack(parameters);
  output_.Pack(parameters);
}

void FeedForwardLayer::Unpack() {
  input_.Unpack();
  output_.Unpack();
}

at::Tensor FeedForwardLayer::Forward(const at::Tensor& x, const ForwardPass& pass, Tape* tape) const {
  at::Tensor pre, activated;
  if (gated_ || (pass.blocks != nullptr && pass.blocks->At(BlockSite::kIntermediate))) {
    pre = pass.WithBlocks(layer_, BlockSite::kIntermediate, x, input_.Forward(x, pass));
    activated = gated_ ? ops::GatedActivation(pre, activation_) : ops::Activate(pre, activation_);
  } else {
    activated = ops::LinearActivation(x, input_.Weight(pass), input_.Bias(pass.parameters), activation_,
                                      pass.keep ? &pre : nullptr);
  }
  at::Tensor out = pass.WithBlocks(layer_, BlockSite::kOutput, activated, output_.Forward(activated, pass));
  if (pass.keep) *tape = {x, pre, activated};
  return out;
}

at::Tensor FeedForwardLayer::Backward(at::Tensor g, Tape kept, const BackwardPass& pass) const {
  at::Tensor more = pass.ThroughBlocks(layer_, BlockSite::kOutput, g);
  at::Tensor grad_activated = output_.Backward(std::move(g), Take(kept.activated), more, pass);
  at::Tensor grad_pre = gated_
                            ? ops::GatedActivationGradient(Take(grad_activated), Take(kept.pre_activation), activation_)
                            : ops::ActivationGradient(Take(grad_activated), Take(kept.pre_activation), activation_);
  more = pass.ThroughBlocks(layer_, BlockSite::kIntermediate, grad_pre);
  return input_.Backward(std::move(grad_pre), Take(kept.input), more, pass);
}

}  // namespace engram::nn
