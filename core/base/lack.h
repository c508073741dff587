#pragma once

// What a machine may be short of for a while. Work that fails for such a reason is not at fault: the same may succeed
// later, unchanged, and is to be tried again rather than given up.

#include "core/base/status.h"

namespace engram {

// Reasons of statuses (StatusWithReason).
inline constexpr std::string_view kDiskFull = "DISK_FULL", kDiskFailing = "DISK_FAILING",
                                  kOutOfMemory = "OUT_OF_MEMORY", kOutOfDescriptors = "OUT_OF_DESCRIPTORS";

// Whether the status names something that is lacking for now: a full, failing or read-only disk, memory, descriptors,
// a permission, anything UNAVAILABLE. False for OK.
bool IsLack(const absl::Status& status);

// The status that an errno of a system call stands for; `what` was being done ("reading a file"). NOT_FOUND,
// ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED (DISK_FULL, OUT_OF_MEMORY, OUT_OF_DESCRIPTORS), UNAVAILABLE
// (DISK_FAILING: input or output fails, the file system is read-only, a server of files is away), INTERNAL for the rest.
absl::Status StatusOfErrno(int error, std::string_view what);

}  // namespace engram
