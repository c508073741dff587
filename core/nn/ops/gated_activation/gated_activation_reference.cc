#include "ATen/TensorOperators.h"
#include "ATen/ops/cat.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::reference {
namespace {

at::Tensor GatedActivation(const at::Tensor& rows, Activation act) {
  const int64_t inner = rows.size(1) / 2;
  return Activate(rows.narrow(1, 0, inner), act) * rows.narrow(1, inner, inner);
}

// The activation's gradient by the device's own table, which may override it alone.
at::Tensor GatedActivationGradient(const at::Tensor& g, const at::Tensor& rows, Activation act) {
  const int64_t inner = rows.size(1) / 2;
  const at::Tensor a = rows.narrow(1, 0, inner).contiguous(), b = rows.narrow(1, inner, inner);
  return at::cat({ops::ActivationGradient(g * b, a, act), g * Activate(a, act)}, 1);
}

}  // namespace

void SetGatedActivation(OpTable& table) {
  table.gated_activation = GatedActivation;
  table.gated_activation_gradient = GatedActivationGradient;
}

}  // namespace engram::nn::ops::reference
