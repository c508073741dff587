#pragma once

// Version directories: digests of their files, verification, and publication that a crash or a full disk cannot leave
// half done.

#include <map>
#include <string>

#include "core/base/status.h"
#include "core/checkpoint/manifest.h"

namespace engram::checkpoint {

// Relative path ("1_Pooling/config.json") -> SHA-256 of every file below `directory` except engram.json at its top.
// INVALID_ARGUMENT for anything but regular files and directories (a symbolic link could point outside of the version),
// or nesting deeper than 8.
absl::StatusOr<std::map<std::string, std::string>> DigestFiles(const std::string& directory);

// Compares the files with manifest.files. DATA_LOSS lists missing, added and changed files (at most 20 of each).
absl::Status VerifyFiles(const std::string& directory, const VersionManifest& manifest);

// Makes `staging` (a complete directory on the same file system) visible as `target` in one step: fsync of everything
// in it, rename, fsync of the parent. Never replaces anything: ALREADY_EXISTS if `target` exists. After any error
// `target` is not there and `staging` still is, except that an error of the last fsync leaves the renamed directory (it
// may not survive power loss).
absl::Status PublishDirectory(const std::string& staging, const std::string& target);

// Removes `staging` (with whatever a failed attempt left), makes it anew, lets `fill` write into it and publishes it.
// Whatever fails, RESOURCE_EXHAUSTED on a full disk included, `staging` is removed again and `target` does not exist.
template <typename Fill>
absl::Status BuildAndPublish(const std::string& staging, const std::string& target, const Fill& fill);

}  // namespace engram::checkpoint

#include "core/base/files.h"

namespace engram::checkpoint {

template <typename Fill>
absl::Status BuildAndPublish(const std::string& staging, const std::string& target, const Fill& fill) {
  ENGRAM_RETURN_IF_ERROR(RemoveTree(staging));
  absl::Status status = MakeDirectories(staging);
  if (status.ok()) status = fill(staging);
  if (status.ok()) status = PublishDirectory(staging, target);
  if (!status.ok()) RemoveTree(staging).IgnoreError();
  return status;
}

}  // namespace engram::checkpoint
