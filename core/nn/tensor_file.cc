#include "core/nn/tensor_file.h"

#include <cstring>
#include <optional>
#include <utility>

#include "ATen/ops/empty.h"
#include "absl/strings/str_cat.h"

namespace engram::nn {
namespace {

using checkpoint::Dtype;

constexpr std::pair<Dtype, at::ScalarType> kTypes[] = {
    {Dtype::kF32, at::kFloat}, {Dtype::kI64, at::kLong}, {Dtype::kI32, at::kInt}};

}  // namespace

void TensorList::Add(const std::string& name, const at::Tensor& tensor) {
  if (!tensor.defined()) return;
  const at::Tensor& host = kept_.emplace_back(tensor.cpu().contiguous());
  Dtype dtype = Dtype::kF32;
  for (const auto& [stored, type] : kTypes) {
    if (type == host.scalar_type()) dtype = stored;
  }
  entries_.push_back({name,
                      dtype,
                      {host.sizes().begin(), host.sizes().end()},
                      {static_cast<const std::byte*>(host.const_data_ptr()), static_cast<size_t>(host.nbytes())}});
}

absl::Status TensorList::Write(const std::string& path, const std::map<std::string, std::string>& metadata) {
  const absl::Status written = checkpoint::WriteSafetensors(path, std::exchange(entries_, {}), metadata);
  kept_.clear();
  return written;
}

absl::StatusOr<at::Tensor> ReadTensor(const std::string& name, const checkpoint::TensorEntry& entry) {
  for (const auto& [stored, type] : kTypes) {
    if (stored != entry.dtype) continue;
    const std::vector<int64_t> shape(entry.shape.begin(), entry.shape.end());
    at::Tensor tensor = at::empty(shape, type);
    if (!entry.bytes.empty()) std::memcpy(tensor.mutable_data_ptr(), entry.bytes.data(), entry.bytes.size());
    return tensor;
  }
  return InvalidField(name, absl::StrCat("is stored as ", checkpoint::DtypeName(entry.dtype)));
}

}  // namespace engram::nn
