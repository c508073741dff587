#include "core/nn/ops/pooling/pooling.h"

#include "core/nn/ops/op_table.h"

namespace engram::nn::ops {

at::Tensor MeanPool(const at::Tensor& hidden, const PackedBatch& batch) {
  return OpsFor(hidden.device()).mean_pool(hidden, batch);
}

at::Tensor MeanPoolGradient(const at::Tensor& g, const PackedBatch& batch) {
  return OpsFor(g.device()).mean_pool_gradient(g, batch);
}

at::Tensor FirstToken(const at::Tensor& hidden, const PackedBatch& batch) {
  return OpsFor(hidden.device()).first_token(hidden, batch);
}

at::Tensor FirstTokenGradient(const at::Tensor& g, const PackedBatch& batch) {
  return OpsFor(g.device()).first_token_gradient(g, batch);
}

}  // namespace engram::nn::ops
