#include "ATen/ops/empty_like.h"
#include "ATen/ops/mm.h"
#include "core/nn/cuda/device_ops.h"
#include "core/nn/cuda/run.h"
#include "core/nn/ops/activation/activation_body.h"

namespace engram::nn::cuda {
namespace {

at::Tensor LinearActivation(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b, Activation act,
                            at::Tensor* pre) {
  const at::Tensor product = at::mm(x, w.t());
  at::Tensor y = at::empty_like(product);
  if (pre != nullptr) *pre = product;
  const int64_t width = product.size(1);
  ForElements(product.scalar_type(), [&]<typename T>(T) {
    Run(BiasActivationBody<T>{Read<T>(product), Read<T>(b), pre != nullptr ? Write<T>(product) : nullptr, Write<T>(y),
                              width, act},
        {product.size(0), WarpsFor(width)}, product);
  });
  return y;
}

at::Tensor ActivationGradient(const at::Tensor& g, const at::Tensor& pre, Activation act) {
  const at::Tensor from = g.contiguous(), of = pre.contiguous();
  at::Tensor out = at::empty_like(from);
  ForElements(from.scalar_type(), [&]<typename T>(T) {
    using Body = ActivationGradientBody<T>;
    Run(Body{Read<T>(from), Read<T>(of), Write<T>(out), from.numel(), act},
        {Blocks(from.numel(), Body::kElements), kMostWarps}, from);
  });
  return out;
}

}  // namespace

void SetActivation(ops::OpTable& table) {
  table.linear_activation = LinearActivation;
  table.activation_gradient = ActivationGradient;
}

}  // namespace engram::nn::cuda
