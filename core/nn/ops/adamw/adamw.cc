#include "core/nn/ops/adamw/adamw.h"

#include "core/nn/ops/op_table.h"

namespace engram::nn::ops {

std::vector<double> AdamWStep(const AdamWArguments& arguments) {
  return OpsFor(arguments.weights.device()).adamw_step(arguments);
}

double GradientNorm(const at::Tensor& gradients, std::span<const ElementRange> ranges) {
  return OpsFor(gradients.device()).gradient_norm(gradients, ranges);
}

}  // namespace engram::nn::ops
