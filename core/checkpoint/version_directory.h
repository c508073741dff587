#pragma once

// Version directories: digests of their files, verification, and publication that a crash or a full disk cannot leave
// half done.

#include <functional>
#include <map>
#include <string>

#include "core/base/status.h"
#include "core/checkpoint/manifest.h"

namespace engram::checkpoint {

// Relative path ("1_Pooling/config.json") -> SHA-256 of every file below `directory` except engram.json at its top.
// INVALID_ARGUMENT for anything but regular files and directories (a symbolic link could point outside of the version),
// or nesting deeper than 8.
absl::StatusOr<std::map<std::string, std::string>> DigestFiles(const std::string& directory);

// Fills manifest.files with the digests of what lies in `directory`, then writes engram.json there. Call it last.
absl::Status WriteManifest(const std::string& directory, VersionManifest& manifest);

// Compares the files with manifest.files. DATA_LOSS lists missing, added and changed files (at most 20 of each).
absl::Status VerifyFiles(const std::string& directory, const VersionManifest& manifest);

// Makes `staging` (a complete directory on the same file system) visible as `target` in one step: fsync of everything
// in it, rename, fsync of the parent. Never replaces anything: ALREADY_EXISTS if `target` exists. After any error
// `target` is not there and `staging` still is, except that an error of the last fsync leaves the renamed directory (it
// may not survive power loss).
absl::Status PublishDirectory(const std::string& staging, const std::string& target);

// Puts `staging` (a complete directory on the same file system) in the place of `target`, and what lay there into
// `staging`, in one step: fsync of everything in it, exchange, fsync of both parents. After any error but one of the
// last fsync nothing has changed.
absl::Status ExchangeDirectories(const std::string& staging, const std::string& target);

// Removes `staging` (whatever a failed attempt left), makes it anew, lets `fill` write into it and publishes it.
// Whatever fails, a full disk (RESOURCE_EXHAUSTED) included, `staging` is removed again and `target` does not exist.
absl::Status BuildAndPublish(const std::string& staging, const std::string& target,
                             const std::function<absl::Status(const std::string& directory)>& fill);

}  // namespace engram::checkpoint
