#include "core/nn/layers/relative_positions.h"

#include <cmath>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/index_select.h"
#include "ATen/ops/log.h"
#include "ATen/ops/where.h"

namespace engram::nn {
namespace {

// The sort of each distance j - i from -kFarthest to kFarthest, int32. In fp32, and in this order, as transformers
// rounds: at the borders between sorts the logarithm of a quotient is a whole number.
at::Tensor Buckets(at::Device device) {
  constexpr int64_t kEach = checkpoint::kRelativeBuckets / 2, kExact = kEach / 2;
  const at::Tensor n = -at::arange(-RelativePositions::kFarthest, RelativePositions::kFarthest + 1, at::kLong);
  const at::Tensor distance = n.abs();
  const double scale = std::log(static_cast<double>(RelativePositions::kFarthest) / static_cast<double>(kExact));
  const at::Tensor wide = (at::log(distance.to(at::kFloat) / kExact) / scale * (kEach - kExact)).to(at::kLong) + kExact;
  const at::Tensor sort = at::where(distance < kExact, distance, wide.clamp_max(kEach - 1));
  return (sort + (n < 0).to(at::kLong) * kEach).to(device, at::kInt);
}

}  // namespace

bool RelativePositions::Append(const checkpoint::ExpectedTensor& tensor, SlotId slot) {
  if (tensor.role != checkpoint::TensorRole::kRelativePositions) return false;
  table_ = slot;
  return true;
}

at::Tensor RelativePositions::ByDistance(const ParameterBuffer& parameters) const {
  const at::Tensor table = parameters.Compute(table_);
  return at::index_select(table, 0, Buckets(table.device())).to(at::kFloat).t().contiguous();
}

void RelativePositions::Backward(const at::Tensor& gradient, GradientSink& sink) const {
  const int64_t sequences = gradient.size(0), distances = gradient.size(2);
  std::vector<int32_t> cu_rows;
  for (int64_t i = 0; i <= sequences; ++i) cu_rows.push_back(static_cast<int32_t>(i * distances));
  const at::Device device = gradient.device();
  const at::Tensor offsets = (at::arange(sequences + 1, at::kLong) * distances).to(device, at::kInt);
  sink.Embedding(table_, Buckets(device).repeat({sequences}),
                 gradient.transpose(1, 2).reshape({sequences * distances, gradient.size(1)}), {offsets, cu_rows});
}

}  // namespace engram::nn
