#include "core/nn/ops/gated_activation/gated_activation.h"

#include "core/nn/ops/op_table.h"

namespace engram::nn::ops {

at::Tensor GatedActivation(const at::Tensor& rows, Activation act) {
  return OpsFor(rows.device()).gated_activation(rows, act);
}

at::Tensor GatedActivationGradient(const at::Tensor& g, const at::Tensor& rows, Activation act) {
  return OpsFor(g.device()).gated_activation_gradient(g, rows, act);
}

}  // namespace engram::nn::ops
