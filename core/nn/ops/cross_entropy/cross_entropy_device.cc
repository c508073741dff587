#include "ATen/ops/empty.h"
#include "ATen/ops/empty_like.h"
#include "core/nn/cuda/device_ops.h"
#include "core/nn/cuda/run.h"
#include "core/nn/ops/cross_entropy/cross_entropy_body.h"

namespace engram::nn::cuda {
namespace {

ops::CrossEntropyResult CrossEntropy(const at::Tensor& logits, const at::Tensor& target, const at::Tensor& weight) {
  const at::Tensor from = logits.contiguous(), own = target.contiguous();
  const at::Tensor scale = weight.defined() ? weight.contiguous() : weight;
  ops::CrossEntropyResult result{at::empty({from.size(0)}, from.options()), at::empty_like(from)};
  Run(CrossEntropyBody{Read<float>(from), Read<int64_t>(own), Read<float>(scale), Write<float>(result.loss),
                       Write<float>(result.grad), from.size(1)},
      {from.size(0), WarpsFor(from.size(1))}, from);
  return result;
}

}  // namespace

void SetCrossEntropy(ops::OpTable& table) { table.cross_entropy = CrossEntropy; }

}  // namespace engram::nn::cuda
