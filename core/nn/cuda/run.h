#pragma once

// From tensors to kernels: what the ops' <op>_device.cc share.

#include <span>

#include "ATen/core/Tensor.h"
#include "c10/core/DeviceGuard.h"
#include "c10/util/Exception.h"
#include "core/nn/cuda/dropout_slots.h"
#include "core/nn/cuda/elements.h"
#include "core/nn/cuda/launch.h"
#include "core/nn/ops/dropout/dropout.h"

namespace engram::nn::cuda {

// The current stream of the tensor's device; null on the host.
void* StreamOf(const at::Tensor& tensor);

// Launches on the device and the stream of `on`; nothing for no blocks.
template <typename Body>
void Run(const Body& body, const LaunchShape& shape, const at::Tensor& on) {
  if (shape.blocks == 0) return;
  const c10::DeviceGuard guard(on.device());
  Launch(body, shape, StreamOf(on));
}

DropoutKey KeyOf(const ops::Dropout& dropout);

template <typename T>
const T* Read(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<const T*>(tensor.const_data_ptr()) : nullptr;
}
template <typename T>
T* Write(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<T*>(tensor.mutable_data_ptr()) : nullptr;
}

// Calls run(T{}) with the type that kernels have for the elements of activations. Throws for any but fp32 and bf16.
template <typename Work>
void ForElements(at::ScalarType dtype, const Work& run) {
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kBFloat16, "activations are fp32 or bf16");
  if (dtype == at::kFloat) {
    run(float{});
  } else {
    run(BFloat16{});
  }
}

// Where the rows of sequences begin and what each sequence weighs, on the device. All layers of a pass ask for the same ones:
// the last is kept for each thread, and copied once.
struct DeviceRows {
  at::Tensor cu_rows;  // int32 [n + 1]
  at::Tensor weight;   // fp32 [n]
  at::Tensor owner;    // int64 [rows]: the sequence of each row
};
DeviceRows RowsOn(at::Device device, std::span<const int32_t> cu_rows, std::span<const float> weight);

// table[id] += the sum of the rows of g [R, d] that `ids` (int64 [R]) sends there; with `rows`: += the weighted squares, or
// absolute values, of each sequence's sum. In a fixed order (RunSumsBody).
void AddRuns(const at::Tensor& g, const at::Tensor& ids, const DeviceRows& rows, bool absolute,
             const at::Tensor& table);

// A copy on the device, in memory of the caller's own.
at::Tensor CopyOf(std::span<const int64_t> values, at::Device device);

}  // namespace engram::nn::cuda
