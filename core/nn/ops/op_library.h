#pragma once

// A device's own ops out of a shared library that is loaded when the device is opened, so that a machine without the
// device needs none of it. The library exports one function:
//
//   extern "C" bool engram_override_ops(uint64_t version, uint64_t bytes, engram::nn::ops::OpTable* table);
//
// `table` comes filled with what the device computes with so far; the function replaces the entries that the library has
// a faster form of and leaves the others. It touches nothing and returns false unless `version` and `bytes` are
// kOpTableVersion and sizeof(OpTable) as it was compiled with. The library needs no symbol of the program that loads it
// but libtorch's.

#include <string>

#include "absl/status/status.h"
#include "c10/core/DeviceType.h"

namespace engram::nn::ops {

// Loads `file` (a path, or a name that the dynamic linker looks up), which stays loaded, and registers its ops for the
// device type. NOT_FOUND if it cannot be opened; FAILED_PRECONDITION if it has no such function or was built for another
// OpTable. Thread-safe.
absl::Status LoadOpLibrary(const std::string& file, at::DeviceType type);

}  // namespace engram::nn::ops
