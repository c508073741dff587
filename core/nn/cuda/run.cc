#include "core/nn/cuda/run.h"

#include <algorithm>
#include <vector>

#include "ATen/ops/empty.h"
#include "c10/core/impl/VirtualGuardImpl.h"
#include "c10/util/Exception.h"
#include "core/nn/cuda/launch_error.h"
#include "core/nn/ops/dropout/dropout_bits.h"

namespace engram::nn::cuda {
namespace {

template <typename T>
at::Tensor Copy(std::span<const T> values, at::ScalarType dtype, at::Device device) {
  at::Tensor host = at::empty({static_cast<int64_t>(values.size())}, dtype);
  std::copy(values.begin(), values.end(), host.mutable_data_ptr<T>());
  return host.to(device);
}

std::vector<int64_t> Owners(std::span<const int32_t> cu_rows) {
  std::vector<int64_t> owners;
  for (size_t n = 0; n + 1 < cu_rows.size(); ++n)
    owners.resize(static_cast<size_t>(cu_rows[n + 1]), static_cast<int64_t>(n));
  return owners;
}

struct Kept {
  std::vector<int32_t> cu_rows;
  std::vector<float> weight;
  at::Device device = at::kCPU;
  DeviceRows rows;
};

}  // namespace

void* StreamOf(const at::Tensor& tensor) {
  if (tensor.is_cpu()) return nullptr;
  return c10::impl::VirtualGuardImpl(tensor.device().type()).getStream(tensor.device()).native_handle();
}

DropoutKey KeyOf(const ops::Dropout& dropout) {
  if (!dropout.active()) return {};
  const ops::DropoutBits bits(dropout);
  return {bits.seed, bits.step, bits.site, bits.threshold, bits.scale, true};
}

void ThrowLaunchError(const char* what) { TORCH_CHECK(false, "CUDA error: ", what); }

DeviceRows RowsOn(at::Device device, std::span<const int32_t> cu_rows, std::span<const float> weight) {
  thread_local Kept kept;
  const bool same = kept.rows.cu_rows.defined() && kept.device == device && std::ranges::equal(kept.cu_rows, cu_rows) &&
                    std::ranges::equal(kept.weight, weight);
  if (same) return kept.rows;
  const std::vector<int64_t> owners = Owners(cu_rows);
  kept = {{cu_rows.begin(), cu_rows.end()},
          {weight.begin(), weight.end()},
          device,
          {Copy(cu_rows, at::kInt, device), Copy(weight, at::kFloat, device),
           Copy(std::span<const int64_t>(owners), at::kLong, device)}};
  return kept.rows;
}

at::Tensor CopyOf(std::span<const int64_t> values, at::Device device) { return Copy(values, at::kLong, device); }

}  // namespace engram::nn::cuda
