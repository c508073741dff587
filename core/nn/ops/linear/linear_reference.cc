#include <optional>

#include "ATen/TensorOperators.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/mm.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::reference {
namespace {

at::Tensor Linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) {
  return at::linear(x, w, b.defined() ? std::optional(b) : std::nullopt);
}

at::Tensor LinearInputGradient(const at::Tensor& g, const at::Tensor& w) { return at::mm(g, w); }

void LinearWeightGradient(const at::Tensor& g, const at::Tensor& x, const at::Tensor& grad_w,
                          const at::Tensor& grad_b) {
  if (grad_w.defined()) grad_w.add_(at::mm(g.t(), x));
  if (grad_b.defined()) grad_b.add_(g.sum(0, /*keepdim=*/false, at::kFloat));
}

at::Tensor PackWeight(const at::Tensor& /*w*/) { return {}; }

}  // namespace

void SetLinear(OpTable& table) {
  table.linear = Linear;
  table.linear_input_gradient = LinearInputGradient;
  table.linear_weight_gradient = LinearWeightGradient;
  table.pack_weight = PackWeight;
}

}  // namespace engram::nn::ops::reference
