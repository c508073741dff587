#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::cpu {
namespace {

// Sequence by sequence: each is a sum over rows that lie next to each other.
at::Tensor MeanPool(const at::Tensor& hidden, const PackedBatch& batch) {
  at::Tensor means = at::empty({batch.sequences(), hidden.size(1)}, hidden.options().dtype(at::kFloat));
  for (int64_t i = 0; i < batch.sequences(); ++i) {
    means.select(0, i).copy_(hidden.narrow(0, batch.host_cu_seqlens[i], batch.length(i)).sum(0, false, at::kFloat));
    means.select(0, i).mul_(1.0F / static_cast<float>(batch.length(i)));
  }
  return means.to(hidden.scalar_type());
}

}  // namespace

void SetPooling(OpTable& table) { table.mean_pool = MeanPool; }

}  // namespace engram::nn::ops::cpu
