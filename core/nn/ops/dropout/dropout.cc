#include "core/nn/ops/dropout/dropout.h"

#include "core/nn/ops/op_table.h"

namespace engram::nn::ops {

at::Tensor ApplyDropout(const at::Tensor& x, const Dropout& dropout) {
  return OpsFor(x.device()).apply_dropout(x, dropout);
}

}  // namespace engram::nn::ops
