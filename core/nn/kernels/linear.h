#pragma once

// Matrix products on the CPU, by oneDNN for fp32 as well: the BLAS in the libtorch wheel (MKL) runs AVX2 code on AMD
// processors, at half the speed of oneDNN's AVX-512.

#include "ATen/core/Tensor.h"

namespace engram::nn::kernels {

// x w^T + b.  x [T, i], w [o, i] (a transposed view is fine, and so is what PackWeight returned), b [o] or undefined
// -> [T, o]. fp32 or bf16, sums in fp32.
at::Tensor Linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b);

// w [o, i] in oneDNN's own layout, for Linear alone. Undefined where there is no oneDNN: use w then.
at::Tensor PackWeight(const at::Tensor& w);

// g^T x.  g [T, o], x [T, i] -> [o, i]
at::Tensor TransposedProduct(const at::Tensor& g, const at::Tensor& x);

}  // namespace engram::nn::kernels
