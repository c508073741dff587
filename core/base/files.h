#pragma once

// Files that survive a crash: whatever matters is written to a temporary name beside its target, fsynced, renamed, and
// its directory fsynced. Errors carry the errno's text and never the path (absl::Status messages may reach a client).

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"

namespace engram {

// The whole file; RESOURCE_EXHAUSTED if it is larger than `max_bytes`, NOT_FOUND if it is not there.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes = size_t{1} << 31);

// Replaces `path` by `bytes` so that a reader (also after kill -9 or power loss) sees either the old content or the new
// one whole.
absl::Status WriteFileAtomic(const std::string& path, std::string_view bytes);

// Writes parts one after the other with the same promise; for content that should not be joined in memory first.
absl::Status WritePartsAtomic(const std::string& path, std::span<const std::string_view> parts);

// fsync of a directory: makes renames in it durable.
absl::Status SyncDirectory(const std::string& path);
// fsync of every file below `path` and of every directory, bottom up.
absl::Status SyncTree(const std::string& path);
// rename(2) within one file system, then fsync of the target's parent.
absl::Status RenameDurably(const std::string& from, const std::string& to);

// With its parents; each new one is durable, as its name in its parent is synced. A path that is there is left alone.
absl::Status MakeDirectories(const std::string& path);
absl::Status RemoveTree(const std::string& path);
absl::Status CopyFile(const std::string& from, const std::string& to);
bool PathExists(const std::string& path);
// Size of a file in bytes; NOT_FOUND if it is not there.
absl::StatusOr<int64_t> FileBytes(const std::string& path);
// Names (not paths) of the entries of a directory, sorted, without "." and "..".
absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path);

// A file mapped read-only. Movable; the bytes live as long as the object. An empty file gives an empty span.
class MappedFile {
 public:
  static absl::StatusOr<MappedFile> Open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // Gives the memory behind `part` of the bytes back to the kernel; reading it again reads the file again. For readers
  // that copy a large file piece by piece and do not want to hold it twice.
  void Release(std::span<const std::byte> part) const;

 private:
  MappedFile(const std::byte* data, size_t size) : data_(data), size_(size) {}
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// An exclusive advisory lock on a file (flock), held until destruction; the kernel drops it when the process dies.
// FAILED_PRECONDITION if another process holds it.
class FileLock {
 public:
  static absl::StatusOr<FileLock> Acquire(const std::string& path);
  FileLock(FileLock&& other) noexcept : descriptor_(other.descriptor_) { other.descriptor_ = -1; }
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

// Lower-case hexadecimal SHA-256.
std::string Sha256Hex(std::string_view bytes);
absl::StatusOr<std::string> Sha256HexOfFile(const std::string& path);

// Inflates gzip content (detected by its magic bytes; other content is returned as it is). RESOURCE_EXHAUSTED past
// `max_bytes` of output; INVALID_ARGUMENT for damaged content.
absl::StatusOr<std::string> MaybeGunzip(std::string bytes, size_t max_bytes);

}  // namespace engram
