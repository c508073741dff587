#pragma once

// Layer normalisation (Ba et al., "Layer normalization", 2016) of a sum with a residual branch, dropout included.

#include "ATen/core/Tensor.h"
#include "core/nn/ops/dropout/dropout.h"

namespace engram::nn::ops {

struct LayerNormResult {
  at::Tensor y;           // [T, d]
  at::Tensor normalized;  // [T, d], what the gradient needs; undefined unless keep
  at::Tensor rstd;        // fp32 [T]: 1 / sqrt(var(s) + eps), the variance over d; undefined unless keep
};

// y = normalized * gamma + beta, normalized = (s - mean(s)) * rstd, s = dropout(x) + residual; statistics are each row's.
// x and residual [T, d], gamma and beta [d]. residual undefined: s = dropout(x); beta undefined: 0.
LayerNormResult AddLayerNorm(const at::Tensor& x, const at::Tensor& residual, const Dropout& dropout,
                             const at::Tensor& gamma, const at::Tensor& beta, double eps, bool keep);

struct AddLayerNormGradientResult {
  at::Tensor residual;  // ds: the gradient of the residual branch, [T, d]
  at::Tensor x;         // ds with the dropout mask applied (the same tensor if dropout is not active)
};

// ds = rstd * (dn - mean(dn) - normalized * mean(dn * normalized)), dn = g * gamma.  g [T, d]; `normalized` and `rstd`
// are what AddLayerNorm kept, `dropout` what it was given.
AddLayerNormGradientResult AddLayerNormGradient(const at::Tensor& g, const at::Tensor& normalized,
                                                const at::Tensor& rstd, const at::Tensor& gamma,
                                                const Dropout& dropout);

// grad_gamma [d] += sum_t g_t * normalized_t;  grad_beta [d] += sum_t g_t.  Both fp32; grad_beta undefined: skipped.
void LayerNormWeightGradient(const at::Tensor& g, const at::Tensor& normalized, const at::Tensor& grad_gamma,
                             const at::Tensor& grad_beta);

}  // namespace engram::nn::ops
