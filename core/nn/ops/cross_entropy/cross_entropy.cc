#include "core/nn/ops/cross_entropy/cross_entropy.h"

#include "core/nn/ops/op_table.h"

namespace engram::nn::ops {

CrossEntropyResult CrossEntropy(const at::Tensor& logits, const at::Tensor& target, const at::Tensor& weight) {
  return OpsFor(logits.device()).cross_entropy(logits, target, weight);
}

}  // namespace engram::nn::ops
