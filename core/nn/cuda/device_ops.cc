#include "core/nn/cuda/device_ops.h"

namespace engram::nn::cuda {
namespace {

ops::OpTable& Kept() {
  static ops::OpTable twins{};
  return twins;
}

}  // namespace

const ops::OpTable& Twins() { return Kept(); }

void OverrideWithKernels(ops::OpTable& table) {
  Kept() = table;
  SetActivation(table);
  SetAdamW(table);
  SetCrossEntropy(table);
  SetDropout(table);
  SetEmbedding(table);
  SetLayerNorm(table);
  SetPooling(table);
  SetSquaredGradient(table);
}

}  // namespace engram::nn::cuda
