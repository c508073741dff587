#pragma once

// pytorch_model.bin: a state_dict as torch.save writes it, in the zip format of PyTorch 1.6 and later and in the one from
// before it. Read through mmap, without Python and without running anything of the file (torch_pickle.h).

#include <memory>
#include <string>
#include <vector>

#include "core/base/files.h"
#include "core/base/status.h"
#include "core/checkpoint/safetensors.h"

namespace engram::checkpoint {

// Immutable after it is made. Tensors live as long as the object.
class TorchFile {
 public:
  // INVALID_ARGUMENT with the reason for a file that is not one, that mentions anything but tensors, and for a tensor
  // that does not lie within its storage; NOT_FOUND if there is no file. The file is mapped: it must not be changed
  // while the object lives.
  static absl::StatusOr<TorchFile> Open(const std::string& path);
  // `bytes` must outlive the result.
  static absl::StatusOr<TorchFile> Parse(std::span<const std::byte> bytes);

  // By their names. What lies strided in its storage was copied.
  const std::vector<TensorToWrite>& tensors() const { return tensors_; }

 private:
  struct Storages;

  TorchFile() = default;
  absl::Status ParseInto(std::span<const std::byte> bytes);
  absl::Status ParseZip(std::span<const std::byte> bytes);
  absl::Status ParseLegacy(std::span<const std::byte> bytes);

  std::unique_ptr<MappedFile> file_;
  std::vector<TensorToWrite> tensors_;
  std::vector<std::unique_ptr<std::vector<std::byte>>> copies_;
};

}  // namespace engram::checkpoint
