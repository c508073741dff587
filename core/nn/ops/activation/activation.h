#pragma once

// Activations, alone and behind a linear layer.

#include "ATen/core/Tensor.h"
#include "core/nn/ops/activation/activation_kind.h"

namespace engram::nn::ops {

// y = act(x w^T + b).  x [T, i], w [o, i] (or what PackWeight returned), b [o] or undefined -> [T, o]. `pre` receives
// x w^T + b, which the gradient needs; nullptr: not kept (inference).
at::Tensor LinearActivation(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b, Activation act,
                            at::Tensor* pre);

// act(pre), in the dtype of pre: for what lies between a linear layer and its activation. The same on every device.
at::Tensor Activate(const at::Tensor& pre, Activation act);

// d pre = g * act'(pre).  g and pre of one shape and dtype. ReLU's derivative at 0 is 0.
at::Tensor ActivationGradient(const at::Tensor& g, const at::Tensor& pre, Activation act);

}  // namespace engram::nn::ops
