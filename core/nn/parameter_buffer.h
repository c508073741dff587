#pragma once

// All parameters of a model in one contiguous fp32 tensor, all their gradients in another, and a table of named slices.
// Every pass over parameters (AdamW, clipping, EWC's penalty, A-GEM's projection, a checkpoint) is one loop over flat
// memory. Whoever needs a second gradient (of replayed texts, of one window) makes a GradientBuffer of its own.
//
// Slices lie in the order in which they were added, without gaps: slices added one after the other can be viewed as one
// matrix (query, key and value weights are the fused [3d, d] weight, under their own Hugging Face names).
// Layers keep SlotIds and ask for views when they compute; a view is invalid after Append.
//
// This lives in nn because layers are built on it, also where nothing trains.
//
// Thread-safety: const methods may run concurrently while nobody writes; everything else needs exclusive access.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"

namespace engram::nn {

enum class Precision { kFloat32, kBFloat16 };

using SlotId = int32_t;

struct ParameterSpec {
  std::string name;            // the Hugging Face name, unique
  std::vector<int64_t> shape;  // each >= 1
  bool decay = true;           // weight decay applies (false for biases and LayerNorm)
};

struct ParameterSlice : ParameterSpec {
  int64_t offset = 0;  // in elements
  int64_t size = 0;    // in elements
};

// A view over adjacent slices of a flat tensor, at least one, as one matrix or vector whose rows are stacked: [sum of
// first dimensions, rest].
at::Tensor StackedView(const at::Tensor& flat, std::span<const ParameterSlice> slices);

class ParameterBuffer;

// Gradients of a buffer's parameters: flat fp32 [N], in the order of its slices. Belongs to the slices that the buffer
// had when it was made; the buffer must outlive it.
class GradientBuffer {
 public:
  // Zeros.
  explicit GradientBuffer(const ParameterBuffer& parameters);

  void Zero();
  const at::Tensor& flat() const { return flat_; }  // fp32 [N]
  at::Tensor Of(SlotId slot) const;                 // view of the slice's shape
  // One view over `count` adjacent slots whose rows are stacked.
  at::Tensor Stacked(SlotId first, int count) const;

 private:
  const ParameterBuffer* parameters_;
  at::Tensor flat_;
};

class ParameterBuffer {
 public:
  // Weights start at 0. `precision` is what layers compute in: with kBFloat16 a bf16 copy of the weights is kept.
  ParameterBuffer(at::Device device, Precision precision);
  // A copy with weights of its own and without gradients.
  ParameterBuffer(const ParameterBuffer& other);
  ParameterBuffer& operator=(const ParameterBuffer&) = delete;

  // Adds slices at the end; the values of the earlier ones stay. ALREADY_EXISTS for a name that is taken.
  absl::StatusOr<std::vector<SlotId>> Append(const std::vector<ParameterSpec>& specs);

  // Takes the slices out of use: their names are free from now on, their memory is given back with the buffer.
  void Retire(const std::vector<SlotId>& slots);

  // Makes the buffer's own gradients (zeros) if they are not there yet. Until then gradients() is undefined.
  void EnableGradients();
  void ZeroGradients();
  // Rounds weights() to the bf16 copy; a no-op with kFloat32. To be called after every change of weights().
  void RefreshCompute();

  const at::Tensor& weights() const { return weights_; }  // fp32 [N]
  const at::Tensor& compute() const { return compute_; }  // fp32 (weights_ itself) or bf16 [N]
  at::Tensor gradients() const;                           // fp32 [N] or undefined
  GradientBuffer* gradient_buffer() { return gradients_ ? &*gradients_ : nullptr; }  // nullptr until EnableGradients

  at::Tensor Weight(SlotId slot) const;   // fp32 view of the slice's shape
  at::Tensor Compute(SlotId slot) const;  // view in the compute dtype: what layers multiply with
  // One view over `count` adjacent slots whose rows are stacked: [sum of first dimensions, rest].
  at::Tensor ComputeStacked(SlotId first, int count) const;

  const std::vector<ParameterSlice>& slices() const { return slices_; }
  const ParameterSlice& slice(SlotId slot) const { return slices_[slot]; }
  // -1 if there is none of that name.
  SlotId Find(std::string_view name) const;
  int64_t size() const { return size_; }
  at::Device device() const { return device_; }
  Precision precision() const { return precision_; }

 private:
  at::Device device_;
  Precision precision_;
  int64_t size_ = 0;
  std::vector<ParameterSlice> slices_;
  at::Tensor weights_, compute_;
  std::optional<GradientBuffer> gradients_;
};

}  // namespace engram::nn
