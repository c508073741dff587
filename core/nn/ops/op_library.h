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
#include <vector>

#include "absl/status/status.h"
#include "c10/core/Device.h"

namespace engram::nn::ops {

// Loads `file` (a path, or a name that the dynamic linker looks up), which stays loaded, holds its ops against those that the
// device has (ProbeOps, op_probe.h), and registers those that agree for all devices of the type. NOT_FOUND if it cannot be
// opened; FAILED_PRECONDITION if it has no such function or was built for another OpTable. Thread-safe.
absl::Status LoadOpLibrary(const std::string& file, at::Device device);

// The ops of the type's library that were left out since they do not agree, ascending. Thread-safe.
std::vector<std::string> LeftOutOps(at::DeviceType type);

}  // namespace engram::nn::ops
