#include "core/nn/ops/linear/linear.h"

#include "core/nn/ops/op_table.h"

namespace engram::nn::ops {

at::Tensor Linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) {
  return OpsFor(x.device()).linear(x, w, b);
}

at::Tensor LinearInputGradient(const at::Tensor& g, const at::Tensor& w) {
  return OpsFor(g.device()).linear_input_gradient(g, w);
}

void LinearWeightGradient(const at::Tensor& g, const at::Tensor& x, const at::Tensor& grad_w,
                          const at::Tensor& grad_b) {
  OpsFor(g.device()).linear_weight_gradient(g, x, grad_w, grad_b);
}

at::Tensor PackWeight(const at::Tensor& w) { return OpsFor(w.device()).pack_weight(w); }

}  // namespace engram::nn::ops
