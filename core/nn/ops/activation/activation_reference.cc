#include "ATen/TensorOperators.h"
#include "ATen/ops/gelu.h"
#include "ATen/ops/gelu_backward.h"
#include "ATen/ops/relu.h"
#include "ATen/ops/sigmoid.h"
#include "ATen/ops/silu.h"
#include "ATen/ops/tanh.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops {

at::Tensor Activate(const at::Tensor& pre, Activation act) {
  switch (act) {
    case Activation::kGelu:
      return at::gelu(pre, "none");
    case Activation::kGeluTanh:
      return at::gelu(pre, "tanh");
    case Activation::kRelu:
      return at::relu(pre);
    case Activation::kSilu:
      return at::silu(pre);
    case Activation::kTanh:
      break;
  }
  return at::tanh(pre);
}

namespace reference {
namespace {

// The product by the device's own table, which may override Linear alone.
at::Tensor LinearActivation(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b, Activation act,
                            at::Tensor* pre) {
  at::Tensor linear = ops::Linear(x, w, b);
  if (pre != nullptr) *pre = linear;
  return Activate(linear, act);
}

at::Tensor ActivationGradient(const at::Tensor& g, const at::Tensor& pre, Activation act) {
  const at::Tensor x = pre.to(at::kFloat), g32 = g.to(at::kFloat);
  at::Tensor gradient;
  switch (act) {
    case Activation::kGelu:
      gradient = at::gelu_backward(g32, x, "none");
      break;
    case Activation::kGeluTanh:
      gradient = at::gelu_backward(g32, x, "tanh");
      break;
    case Activation::kRelu:
      gradient = g32 * (x > 0).to(at::kFloat);
      break;
    case Activation::kSilu: {
      const at::Tensor s = at::sigmoid(x);
      gradient = g32 * (s * (1 + x * (1 - s)));
      break;
    }
    case Activation::kTanh:
      gradient = g32 * (1 - at::tanh(x).square());
      break;
  }
  return gradient.to(g.scalar_type());
}

}  // namespace

void SetActivation(OpTable& table) {
  table.linear_activation = LinearActivation;
  table.activation_gradient = ActivationGradient;
}

}  // namespace reference
}  // namespace engram::nn::ops
