#pragma once

// Devices by name, what they can do, and the one place where libtorch's exceptions become statuses.

#include <cstdint>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "c10/core/Device.h"
#include "c10/util/Exception.h"
#include "core/base/status.h"

namespace engram::nn {

// "cpu" or "cuda:N". INVALID_ARGUMENT (field "device") for anything else, FAILED_PRECONDITION for a CUDA device that is not
// there, with the reason. The first CUDA device that is asked for loads libtorch's CUDA library and, if it is there, our own
// (libengram_cuda.so), whose kernels are probed on that device (core/nn/ops/op_library.h).
absl::StatusOr<at::Device> ParseDevice(std::string_view name);

// What of CUDA a process finds, each only where the one before is there.
struct CudaState {
  bool driver = false;   // NVIDIA's, libcuda.so.1
  bool library = false;  // libtorch's CUDA library with all that it needs
  int devices = 0;
};
// Loads libtorch's CUDA library where there is a driver, once.
CudaState FindCuda();
// FAILED_PRECONDITION: why there is no `name`, and what to do.
absl::Status NoSuchDevice(std::string_view name, const CudaState& state);

struct DeviceMemory {
  int64_t total_bytes = 0, free_bytes = 0;  // of the device, whoever holds the rest
};
// Of a CUDA device that ParseDevice has named; nullopt for the CPU, and where it cannot be told.
std::optional<DeviceMemory> MemoryOf(at::Device device);
// The most that this process has held of such a device's memory; 0 for the CPU.
int64_t PeakBytesOn(at::Device device);

// Whether the hardware multiplies bf16 natively: CUDA, and CPUs with AVX512-BF16 (all that have AMX have it too).
bool MultipliesBFloat16(at::Device device);

// Bounds what libtorch keeps for matrix shapes that it has seen. oneDNN keeps a compiled kernel for each shape (1,024
// of them by default), and libtorch's wrapper of it as many again: packed batches have a new number of tokens almost
// every time, so both fill up, with hundreds of MiB that are hardly ever used again. The bound lets the layers of one
// pass share their kernels, which is all that pays. To be called at the start of main, before the first operation and
// while there is one thread; leaves alone what the user's environment says.
void BoundShapeCaches();

// The status for an exception that left libtorch. Its text goes to the log, never to a client. RESOURCE_EXHAUSTED for
// memory that ran out, UNAVAILABLE for a device that failed, INTERNAL for the rest.
absl::Status StatusOfTorchException(const std::exception& exception);

// Runs `work` (which returns a Status or a StatusOr) and turns what it throws into a status. Everything that calls
// libtorch on behalf of a user goes through this: no exception of libtorch passes it.
template <typename Work>
std::invoke_result_t<Work> GuardTorch(Work&& work) {
  try {
    return work();
  } catch (const std::exception& exception) {
    return StatusOfTorchException(exception);
  }
}

}  // namespace engram::nn
