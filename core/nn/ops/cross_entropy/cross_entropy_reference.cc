#include "ATen/TensorOperators.h"
#include "ATen/ops/log_softmax.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::reference {
namespace {

CrossEntropyResult CrossEntropy(const at::Tensor& logits, const at::Tensor& target, const at::Tensor& weight) {
  const at::Tensor counted = (target != kIgnored).to(at::kFloat);
  const at::Tensor scale = weight.defined() ? counted * weight : counted;
  const at::Tensor safe = target.clamp_min(0).unsqueeze(1);
  const at::Tensor log_probabilities = at::log_softmax(logits, 1);
  CrossEntropyResult result;
  result.loss = -log_probabilities.gather(1, safe).squeeze(1) * scale;
  // At the target p - 1 is minus the sum of the others: subtracting would leave few digits where p is near 1.
  result.grad = log_probabilities.exp().scatter_(1, safe, 0.0);
  result.grad.scatter_(1, safe, -result.grad.sum(1, /*keepdim=*/true));
  result.grad.mul_(scale.unsqueeze(1));
  return result;
}

}  // namespace

void SetCrossEntropy(OpTable& table) { table.cross_entropy = CrossEntropy; }

}  // namespace engram::nn::ops::reference
