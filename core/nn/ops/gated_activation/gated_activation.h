#pragma once

// What lies between the two linear layers of a gated feed-forward layer (Shazeer, "GLU variants", 2020).

#include "ATen/core/Tensor.h"
#include "core/nn/ops/activation/activation.h"

namespace engram::nn::ops {

// y = act(a) * b.  rows [T, 2i] hold a and b side by side -> [T, i]
at::Tensor GatedActivation(const at::Tensor& rows, Activation act);

// The gradient of `rows`, [T, 2i]: g * b * act'(a) and g * act(a) side by side.  g [T, i]
at::Tensor GatedActivationGradient(const at::Tensor& g, const at::Tensor& rows, Activation act);

}  // namespace engram::nn::ops
