#include "ATen/ops/empty.h"
#include "core/nn/cuda/device_ops.h"
#include "core/nn/cuda/run.h"
#include "core/nn/ops/pooling/pooling_body.h"

namespace engram::nn::cuda {
namespace {

at::Tensor MeanPool(const at::Tensor& hidden, const PackedBatch& batch) {
  const at::Tensor from = hidden.contiguous();
  const int64_t width = from.size(1);
  at::Tensor out = at::empty({batch.sequences(), width}, from.options());
  ForElements(from.scalar_type(), [&]<typename T>(T) {
    using Body = MeanPoolBody<T>;
    Run(Body{Read<T>(from), Read<int32_t>(batch.cu_seqlens), Write<T>(out), width},
        {batch.sequences() * Blocks(width, Body::kColumns), WarpsFor(Body::kColumns)}, from);
  });
  return out;
}

}  // namespace

void SetPooling(ops::OpTable& table) { table.mean_pool = MeanPool; }

}  // namespace engram::nn::cuda
