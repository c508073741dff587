#include "core/nn/ops/dropout/dropout.h"

#include "core/nn/ops/op_table.h"

namespace engram::nn::ops {

at::Tensor ApplyDropout(const at::Tensor& x, const Dropout& dropout) {
  return OpsFor(x.device()).apply_dropout(x, dropout);
}

at::Tensor DropoutMask(const Dropout& dropout, std::span<const int64_t> first, int64_t count, at::Device device) {
  return OpsFor(device).dropout_mask(dropout, first, count, device);
}

}  // namespace engram::nn::ops
