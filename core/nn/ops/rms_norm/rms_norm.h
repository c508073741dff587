#pragma once

// Root mean square normalisation (Zhang and Sennrich, 2019): no mean is taken away, nothing is added.

#include "ATen/core/Tensor.h"
#include "core/nn/ops/layer_norm/layer_norm.h"

namespace engram::nn::ops {

// y = normalized * gamma, normalized = x * rstd, rstd = 1 / sqrt(mean(x^2) + eps); the mean is each row's.  x [T, d], gamma
// [d]. The gradient of gamma is LayerNormWeightGradient's, without a beta.
LayerNormResult RmsNorm(const at::Tensor& x, const at::Tensor& gamma, double eps, bool keep);

// The gradient of x: rstd * (dn - normalized * mean(dn * normalized)), dn = g * gamma.
at::Tensor RmsNormGradient(const at::Tensor& g, const at::Tensor& normalized, const at::Tensor& rstd,
                           const at::Tensor& gamma);

}  // namespace engram::nn::ops
