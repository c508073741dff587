#include "core/nn/masked_update.h"

#include <algorithm>
#include <cmath>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/where.h"
#include "ATen/ops/zeros.h"

namespace engram::nn {
namespace {

constexpr int64_t kBits = 32;

int64_t Words(int64_t size) { return (size + kBits - 1) / kBits; }

}  // namespace

at::Tensor PackBits(const at::Tensor& mask) {
  const at::Tensor host = mask.cpu().contiguous();
  const bool* const from = host.const_data_ptr<bool>();
  at::Tensor bits = at::zeros({Words(host.numel())}, at::kInt);
  auto* const to = bits.mutable_data_ptr<int32_t>();
  for (int64_t word = 0; word < bits.numel(); ++word) {
    uint32_t packed = 0;
    for (int64_t i = word * kBits; i < std::min(host.numel(), (word + 1) * kBits); ++i)
      packed |= static_cast<uint32_t>(from[i]) << (i % kBits);
    to[word] = static_cast<int32_t>(packed);
  }
  return bits;
}

at::Tensor UnpackBits(const at::Tensor& bits, int64_t size) {
  const at::Tensor host = bits.cpu().contiguous();
  const auto* const from = host.const_data_ptr<int32_t>();
  at::Tensor mask = at::empty({size}, at::kBool);
  bool* const to = mask.mutable_data_ptr<bool>();
  for (int64_t i = 0; i < size; ++i) to[i] = (static_cast<uint32_t>(from[i / kBits]) >> (i % kBits) & 1) != 0;
  return mask;
}

at::Tensor ApplyMask(const at::Tensor& weights, const at::Tensor& update, const TaskMask& mask) {
  const at::Tensor bits = UnpackBits(mask.bits, update.numel()).to(weights.device());
  return weights + at::where(bits, update, 0).mul_(mask.scale);
}

absl::Status CheckMask(const TaskMask& mask, int64_t size) {
  if (!mask.bits.defined() || mask.bits.scalar_type() != at::kInt || mask.bits.dim() != 1 ||
      mask.bits.numel() != Words(size))
    return absl::InvalidArgumentError("the mask is none of this encoder's weights");
  if (!(mask.scale > 0) || !std::isfinite(mask.scale))
    return absl::InvalidArgumentError("the scale of a mask must be above 0");
  return absl::OkStatus();
}

}  // namespace engram::nn
