#pragma once

// The safetensors format: 8 bytes little-endian header length N, N bytes of JSON, then the tensors' bytes. Read through
// mmap and checked completely before anything is handed out; the format is that of huggingface/safetensors
// (safetensors/src/tensor.rs).

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

// In the reference's order (by alignment), which decides the order of tensors in a written file.
enum class Dtype {
  kBool,
  kF4,
  kF6E2M3,
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kF8E4M3Fnuz,
  kF8E5M2Fnuz,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,
  kF64,
  kI64,
  kU64,
};

const char* DtypeName(Dtype dtype);  // "F32"
int DtypeBits(Dtype dtype);          // of one element; 4 and 6 for the packed kinds

struct TensorEntry {
  Dtype dtype = Dtype::kF32;
  std::vector<uint64_t> shape;
  std::span<const std::byte> bytes;  // exactly product(shape) * DtypeBits(dtype) / 8
};

inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;  // bytes
inline constexpr size_t kMaxTensorRank = 64;

// Immutable after it is made; const access is thread-safe. Spans live as long as the object (or the bytes given to
// Parse).
class SafetensorsFile {
 public:
  // INVALID_ARGUMENT with the reason for every deviation from the format; NOT_FOUND if there is no file. The file is
  // mapped, not read: it must not be changed while the object lives (versions are immutable).
  static absl::StatusOr<SafetensorsFile> Open(const std::string& path);
  // `bytes` must outlive the result.
  static absl::StatusOr<SafetensorsFile> Parse(std::span<const std::byte> bytes);

  const std::map<std::string, TensorEntry>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // nullptr if there is none of that name.
  const TensorEntry* Find(const std::string& name) const;
  // The tensor was copied: its pages of the map are no longer needed in memory (its bytes stay valid). Nothing happens
  // for bytes that were given to Parse.
  void Release(const TensorEntry& entry) const;

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

// Writes the file as the reference writer does (descending dtype, then ascending name; header padded to 8 bytes;
// metadata by key), so that a crash leaves the old file or the new one. INVALID_ARGUMENT for a repeated name, a name or
// text that is no valid UTF-8, or bytes that do not fit the shape; RESOURCE_EXHAUSTED on a full disk.
absl::Status WriteSafetensors(const std::string& path, std::vector<TensorToWrite> tensors,
                              const std::map<std::string, std::string>& metadata);

}  // namespace engram::checkpoint
