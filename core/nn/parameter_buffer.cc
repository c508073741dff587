#include "core/nn/parameter_buffer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"

namespace engram::nn {
namespace {

at::TensorOptions Float(at::Device device) { return at::TensorOptions().dtype(at::kFloat).device(device); }

}  // namespace

at::Tensor StackedView(const at::Tensor& flat, std::span<const ParameterSlice> slices) {
  std::vector<int64_t> shape = slices.front().shape;
  int64_t size = slices.front().size;
  for (const ParameterSlice& slice : slices.subspan(1)) {
    shape[0] += slice.shape[0];
    size += slice.size;
  }
  return flat.narrow(0, slices.front().offset, size).view(shape);
}

GradientBuffer::GradientBuffer(const ParameterBuffer& parameters)
    : parameters_(&parameters), flat_(at::zeros({parameters.size()}, Float(parameters.device()))) {}

void GradientBuffer::Zero() { flat_.zero_(); }
at::Tensor GradientBuffer::Of(SlotId slot) const { return Stacked(slot, 1); }
at::Tensor GradientBuffer::Stacked(SlotId first, int count) const {
  return StackedView(flat_, {&parameters_->slice(first), static_cast<size_t>(count)});
}

ParameterBuffer::ParameterBuffer(const ParameterBuffer& other)
    : device_(other.device_),
      precision_(other.precision_),
      size_(other.size_),
      slices_(other.slices_),
      weights_(other.weights_.clone()) {
  RefreshCompute();
}

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
  at::Tensor weights = at::zeros({size}, Float(device_));
  weights.narrow(0, 0, size_).copy_(weights_);
  weights_ = std::move(weights);
  const at::Tensor gradients = this->gradients();
  slices_.insert(slices_.end(), std::make_move_iterator(added.begin()), std::make_move_iterator(added.end()));
  size_ = size;
  if (gradients.defined()) {
    gradients_.emplace(*this);
    gradients_->flat().narrow(0, 0, gradients.numel()).copy_(gradients);
  }
  compute_ = at::Tensor();
  RefreshCompute();
  return ids;
}

void ParameterBuffer::Retire(const std::vector<SlotId>& slots) {
  for (const SlotId slot : slots) slices_[slot].name = absl::StrCat("retired.", slot);
}

void ParameterBuffer::EnableGradients() {
  if (!gradients_) gradients_.emplace(*this);
}

void ParameterBuffer::ZeroGradients() {
  if (gradients_) gradients_->Zero();
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

at::Tensor ParameterBuffer::gradients() const { return gradients_ ? gradients_->flat() : at::Tensor(); }
at::Tensor ParameterBuffer::Weight(SlotId slot) const { return StackedView(weights_, {&slices_[slot], 1}); }
at::Tensor ParameterBuffer::Compute(SlotId slot) const { return StackedView(compute_, {&slices_[slot], 1}); }
at::Tensor ParameterBuffer::ComputeStacked(SlotId first, int count) const {
  return StackedView(compute_, {&slices_[first], static_cast<size_t>(count)});
}

SlotId ParameterBuffer::Find(std::string_view name) const {
  for (size_t i = 0; i < slices_.size(); ++i) {
    if (slices_[i].name == name) return static_cast<SlotId>(i);
  }
  return -1;
}

}  // namespace engram::nn
