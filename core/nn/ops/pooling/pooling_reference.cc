#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/index_select.h"
#include "ATen/ops/repeat_interleave.h"
#include "ATen/ops/segment_reduce.h"
#include "ATen/ops/zeros.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::reference {
namespace {

at::Tensor HostFloats(const std::vector<float>& values, at::Device device) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kFloat);
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<float>());
  return tensor.to(device);
}

// The sequence that each row belongs to, int64 [T].
at::Tensor SequenceOfRow(const PackedBatch& batch) {
  const at::Tensor lengths =
      (batch.cu_seqlens.narrow(0, 1, batch.sequences()) - batch.cu_seqlens.narrow(0, 0, batch.sequences()))
          .to(at::kLong);
  return at::repeat_interleave(at::arange(batch.sequences(), lengths.options()), lengths, 0, batch.tokens());
}

at::Tensor InverseLengths(const PackedBatch& batch, at::Device device) {
  std::vector<float> inverse;
  for (int64_t i = 0; i < batch.sequences(); ++i) inverse.push_back(1.0F / static_cast<float>(batch.length(i)));
  return HostFloats(inverse, device);
}

at::Tensor MeanPool(const at::Tensor& hidden, const PackedBatch& batch) {
  const at::Tensor sums =
      at::segment_reduce(hidden.to(at::kFloat).contiguous(), "sum", /*lengths=*/std::nullopt, /*indices=*/std::nullopt,
                         batch.cu_seqlens.to(at::kLong), /*axis=*/0, /*unsafe=*/true);
  return (sums * InverseLengths(batch, hidden.device()).unsqueeze(1)).to(hidden.scalar_type());
}

at::Tensor MeanPoolGradient(const at::Tensor& g, const PackedBatch& batch) {
  const at::Tensor scaled = g.to(at::kFloat) * InverseLengths(batch, g.device()).unsqueeze(1);
  return at::index_select(scaled.to(g.scalar_type()), 0, SequenceOfRow(batch));
}

at::Tensor FirstToken(const at::Tensor& hidden, const PackedBatch& batch) {
  return at::index_select(hidden, 0, batch.cu_seqlens.narrow(0, 0, batch.sequences()));
}

at::Tensor FirstTokenGradient(const at::Tensor& g, const PackedBatch& batch) {
  at::Tensor gradient = at::zeros({batch.tokens(), g.size(1)}, g.options());
  gradient.index_copy_(0, batch.cu_seqlens.narrow(0, 0, batch.sequences()).to(at::kLong), g);
  return gradient;
}

}  // namespace

void SetPooling(OpTable& table) {
  table.mean_pool = MeanPool;
  table.mean_pool_gradient = MeanPoolGradient;
  table.first_token = FirstToken;
  table.first_token_gradient = FirstTokenGradient;
}

}  // namespace engram::nn::ops::reference
