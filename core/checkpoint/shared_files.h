#pragma once

// Versions of a line have many files in common: the tokenizer, what earlier tasks left. They take disk once.

#include <cstdint>
#include <string>

#include "core/base/status.h"
#include "core/checkpoint/manifest.h"

namespace engram::checkpoint {

// Makes each file of `directory` that `other` has with the same digest and, byte by byte, the same content, another name of
// that file of `other` (a hard link). Files of a version never change, so that neither sees the other; a file goes when its
// last name does. `manifest` and `of_other` say which files there are. At any moment each file is there, whole.
//
// Gives the bytes that are saved. Files that cannot be linked (other file system, too many names) stay as they are. An error
// of reading `directory` is told; `spare`: a name beside `directory`, on its file system, for half a step.
absl::StatusOr<int64_t> ShareFiles(const std::string& directory, const VersionManifest& manifest,
                                   const std::string& other, const VersionManifest& of_other, const std::string& spare);

// Bytes on disk of everything below `directory`, files with several names below it counted once. What vanishes meanwhile
// counts for nothing.
int64_t DiskBytes(const std::string& directory);

}  // namespace engram::checkpoint
