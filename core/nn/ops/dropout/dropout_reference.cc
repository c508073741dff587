#include <algorithm>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "core/nn/ops/dropout/dropout_bits.h"
#include "core/nn/ops/dropout/dropout_mask.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::reference {
namespace {

// Drawn on the host: a device that trains with this is slow.
at::Tensor DropoutMask(const Dropout& dropout, std::span<const int64_t> first, int64_t count, at::Device device) {
  at::Tensor mask = at::empty({static_cast<int64_t>(first.size()), count}, at::kFloat);
  const DropoutBits bits(dropout);
  float* out = mask.mutable_data_ptr<float>();
  for (const int64_t element : first) {
    for (int64_t done = 0; done < count; done += DropoutBits::kGroup) {
      const auto group = bits.Group(static_cast<uint64_t>((element + done) / DropoutBits::kGroup));
      out = std::copy_n(group.begin(), std::min(count - done, DropoutBits::kGroup), out);
    }
  }
  return mask.to(device);
}

at::Tensor ApplyDropout(const at::Tensor& x, const Dropout& dropout) {
  if (!dropout.active()) return x;
  return (x.to(at::kFloat) * MaskLike(x, dropout)).to(x.scalar_type());
}

}  // namespace

void SetDropout(OpTable& table) {
  table.apply_dropout = ApplyDropout;
  table.dropout_mask = DropoutMask;
}

}  // namespace engram::nn::ops::reference
