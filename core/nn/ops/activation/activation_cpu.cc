#include "ATen/Parallel.h"
#include "ATen/ops/empty_like.h"
#include "core/nn/kernels/isa.h"
#include "core/nn/kernels/tensor_rows.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::cpu {
namespace {

at::Tensor GeluGradient(const at::Tensor& g, const at::Tensor& pre) {
  using kernels::Bytes, kernels::MutableBytes;
  at::Tensor out = at::empty_like(g);
  const int64_t element = g.element_size();
  at::parallel_for(0, g.numel(), kernels::kRowGrain * 256, [&](int64_t begin, int64_t end) {
    kernels::Kernels().gelu_gradient(end - begin, Bytes(g) + begin * element, Bytes(pre) + begin * element,
                                     MutableBytes(out) + begin * element);
  });
  return out;
}

at::Tensor ActivationGradient(const at::Tensor& g, const at::Tensor& pre, Activation act) {
  // The kernel's erf is good to 1.5e-7, far below what bf16 keeps; fp32 takes ATen's, which is good to rounding.
  if (act == Activation::kGelu && g.scalar_type() == at::kBFloat16) return GeluGradient(g.contiguous(), pre);
  return ReferenceOps().activation_gradient(g, pre, act);
}

}  // namespace

void SetActivation(OpTable& table) { table.activation_gradient = ActivationGradient; }

}  // namespace engram::nn::ops::cpu
