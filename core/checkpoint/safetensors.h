#pragma once

// The safetensors format: 8 bytes little-endian header length N, N bytes of JSON, then the tensors' bytes. Read through mmap and checked
// completely before anything is handed out; the format is that of huggingface/safetensors (safetensors/src/tensor.rs).

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/files.h"
#include "core/base/status.h"

namespace engram::checkpoint {

enum class Dtype { kBool, kU8, kI8, kF8E5M2, kF8E4M3, kI16, kU16, kF16, kBF16, kI32, kU32, kF32, kI64, kU64, kF64 };

const char* DtypeName(Dtype dtype);  // "F32"
size_t DtypeBytes(Dtype dtype);

struct TensorEntry {
  Dtype dtype = Dtype::kF32;
  std::vector<uint64_t> shape;
  std::span<const std::byte> bytes;  // exactly product(shape) * DtypeBytes(dtype)
};

// Immutable after it is made; const access is thread-safe. Spans live as long as the object (or the bytes given to Parse).
class SafetensorsFile {
 public:
  // INVALID_ARGUMENT with the reason for every deviation from the format; NOT_FOUND if there is no file.
  static absl::StatusOr<SafetensorsFile> Open(const std::string& path);
  // `bytes` must outlive the result.
  static absl::StatusOr<SafetensorsFile> Parse(std::span<const std::byte> bytes);

  const std::map<std::string, TensorEntry>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // nullptr if there is none of that name.
  const TensorEntry* Find(const std::string& name) const;

 private:
  absl::Status ParseInto(std::span<const std::byte> bytes);

  std::unique_ptr<MappedFile> file_;
  std::map<std::string, TensorEntry> tensors_;
  std::map<std::string, std::string> metadata_;
};

// A tensor to be written; the bytes must live until Write returns.
struct TensorToWrite {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<uint64_t> shape;
  std::span<const std::byte> bytes;
};

// Writes the file as the reference writer does (by alignment of the dtype, then by name; header padded to 8 bytes), so that a crash
// leaves the old file or the new one. INVALID_ARGUMENT for a repeated name or bytes that do not fit the shape.
absl::Status WriteSafetensors(const std::string& path, std::vector<TensorToWrite> tensors,
                              const std::map<std::string, std::string>& metadata);

}  // namespace engram::checkpoint
