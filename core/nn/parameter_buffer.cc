#include "core/nn/parameter_buffer.h"

#include <algorithm>
#include <limits>

#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"

namespace engram::nn {
namespace {

at::TensorOptions Float(at::Device device) { return at::TensorOptions().dtype(at::kFloat).device(device); }

at::Tensor View(const at::Tensor& flat, const ParameterSlice& slice, int count) {
  std::vector<int64_t> shape = slice.shape;
  shape[0] *= count;
  return flat.narrow(0, slice.offset, slice.size * count).view(shape);
}

}  // namespace

ParameterBuffer::ParameterBuffer(at::Device device, Precision precision)
    : device_(device), precision_(precision), weights_(at::zeros({0}, Float(device))) {
  RefreshCompute();
}

absl::StatusOr<std::vector<SlotId>> ParameterBuffer::Append(const std::vector<ParameterSpec>& specs) {
  std::vector<SlotId> ids;
  std::vector<ParameterSlice> added;
  int64_t size = size_;
  for (const ParameterSpec& spec : specs) {
    const auto same = [&](const ParameterSlice& slice) { return slice.name == spec.name; };
    if (Find(spec.name) >= 0 || std::any_of(added.begin(), added.end(), same)) {
      return absl::AlreadyExistsError(absl::StrCat("parameter ", spec.name, " exists already"));
    }
    ParameterSlice slice;
    static_cast<ParameterSpec&>(slice) = spec;
    slice.offset = size;
    slice.size = 1;
    for (int64_t extent : spec.shape) {
      if (extent < 1 || slice.size > std::numeric_limits<int32_t>::max() * int64_t{64} / extent) {
        return absl::InvalidArgumentError(absl::StrCat("parameter ", spec.name, " has an impossible shape"));
      }
      slice.size *= extent;
    }
    size += slice.size;
    ids.push_back(static_cast<SlotId>(slices_.size() + added.size()));
    added.push_back(std::move(slice));
  }
  const auto grow = [&](const at::Tensor& old) {
    at::Tensor grown = at::zeros({size}, Float(device_));
    grown.narrow(0, 0, size_).copy_(old);
    return grown;
  };
  weights_ = grow(weights_);
  if (gradients_.defined()) gradients_ = grow(gradients_);
  slices_.insert(slices_.end(), std::make_move_iterator(added.begin()), std::make_move_iterator(added.end()));
  size_ = size;
  compute_ = at::Tensor();
  RefreshCompute();
  return ids;
}

void ParameterBuffer::EnableGradients() {
  if (!gradients_.defined()) gradients_ = at::zeros({size_}, Float(device_));
}

void ParameterBuffer::ZeroGradients() {
  if (gradients_.defined()) gradients_.zero_();
}

void ParameterBuffer::RefreshCompute() {
  if (precision_ == Precision::kFloat32) {
    compute_ = weights_;
  } else if (compute_.defined()) {
    compute_.copy_(weights_);
  } else {
    compute_ = weights_.to(at::kBFloat16);
  }
}

at::Tensor ParameterBuffer::Weight(SlotId slot) const { return View(weights_, slices_[slot], 1); }
at::Tensor ParameterBuffer::Gradient(SlotId slot) const { return View(gradients_, slices_[slot], 1); }
at::Tensor ParameterBuffer::Compute(SlotId slot) const { return View(compute_, slices_[slot], 1); }
at::Tensor ParameterBuffer::ComputeStacked(SlotId first, int count) const {
  return View(compute_, slices_[first], count);
}
at::Tensor ParameterBuffer::GradientStacked(SlotId first, int count) const {
  return View(gradients_, slices_[first], count);
}

SlotId ParameterBuffer::Find(std::string_view name) const {
  for (size_t i = 0; i < slices_.size(); ++i) {
    if (slices_[i].name == name) return static_cast<SlotId>(i);
  }
  return -1;
}

}  // namespace engram::nn
