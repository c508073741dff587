#include <algorithm>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "core/nn/ops/dropout/dropout_bits.h"
#include "core/nn/ops/dropout/dropout_mask.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::reference {

at::Tensor DropoutMask(const Dropout& dropout, int64_t first, int64_t count, at::Device device) {
  at::Tensor mask = at::empty({count}, at::kFloat);
  const DropoutBits bits(dropout);
  float* out = mask.mutable_data_ptr<float>();
  for (int64_t done = 0; done < count;) {
    const int64_t element = first + done, in_group = element % DropoutBits::kGroup;
    const int64_t taken = std::min(count - done, DropoutBits::kGroup - in_group);
    const auto group = bits.Group(static_cast<uint64_t>(element / DropoutBits::kGroup));
    std::copy_n(group.begin() + in_group, taken, out + done);
    done += taken;
  }
  return mask.to(device);
}

namespace {

at::Tensor ApplyDropout(const at::Tensor& x, const Dropout& dropout) {
  if (!dropout.active()) return x;
  return (x.to(at::kFloat) * DropoutMask(dropout, 0, x.numel(), x.device()).view(x.sizes())).to(x.scalar_type());
}

}  // namespace

void SetDropout(OpTable& table) { table.apply_dropout = ApplyDropout; }

}  // namespace engram::nn::ops::reference
