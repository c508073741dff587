#include "core/nn/ops/activation/activation.h"

#include "core/nn/ops/op_table.h"

namespace engram::nn::ops {

at::Tensor LinearActivation(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b, Activation act,
                            at::Tensor* pre) {
  return OpsFor(x.device()).linear_activation(x, w, b, act, pre);
}

at::Tensor ActivationGradient(const at::Tensor& g, const at::Tensor& pre, Activation act) {
  return OpsFor(g.device()).activation_gradient(g, pre, act);
}

}  // namespace engram::nn::ops
