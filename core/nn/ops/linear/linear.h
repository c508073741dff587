#pragma once

// Linear layers. x [T, i], w [o, i], b [o], g [T, o]; dtypes and the rest: core/nn/ops/op_table.h.

#include "ATen/core/Tensor.h"

namespace engram::nn::ops {

// y = x w^T + b -> [T, o].  b undefined: 0. w may be a transposed view, or what PackWeight returned.
at::Tensor Linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b);

// dx = g w -> [T, i].  w as it was given to Linear, but not packed.
at::Tensor LinearInputGradient(const at::Tensor& g, const at::Tensor& w);

// grad_w [o, i] += g^T x;  grad_b [o] += sum_t g_t.  Both fp32; one that is undefined is skipped (x may be undefined with
// grad_w).
void LinearWeightGradient(const at::Tensor& g, const at::Tensor& x, const at::Tensor& grad_w, const at::Tensor& grad_b);

// A copy of w [o, i] in the layout that the device multiplies with fastest, for Linear and LinearActivation alone.
// Undefined where there is none: use w then.
at::Tensor PackWeight(const at::Tensor& w);

}  // namespace engram::nn::ops
