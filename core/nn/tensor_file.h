#pragma once

// Tensors to and from safetensors files, for what is stored by name and shape alone (run checkpoints, what strategies
// remember). Models and consolidations read their files slice by slice instead.

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/checkpoint/safetensors.h"

namespace engram::nn {

// Tensors on their way to a file; holds copies on the CPU where a tensor is not there or not contiguous.
class TensorList {
 public:
  // fp32, int64 or int32, any shape. An undefined tensor is left out.
  void Add(const std::string& name, const at::Tensor& tensor);
  // As checkpoint::WriteSafetensors. The list is empty afterwards.
  absl::Status Write(const std::string& path, const std::map<std::string, std::string>& metadata);

 private:
  std::deque<at::Tensor> kept_;
  std::vector<checkpoint::TensorToWrite> entries_;
};

// A copy of the entry on the CPU. INVALID_ARGUMENT for `name` if it is not F32, I64 or I32.
absl::StatusOr<at::Tensor> ReadTensor(const std::string& name, const checkpoint::TensorEntry& entry);

}  // namespace engram::nn
