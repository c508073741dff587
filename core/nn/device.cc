#include "core/nn/device.h"

#include <dlfcn.h>

#include <cstdlib>
#include <vector>

#include "ATen/Context.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "c10/core/CachingDeviceAllocator.h"
#include "core/base/log.h"
#include "core/nn/ops/op_library.h"

namespace engram::nn {
namespace {

// Without kernels of our own a device runs the reference ops.
void LoadKernels(at::Device device) {
  static const bool tried = [device] {
    const absl::Status own = GuardTorch([device] { return ops::LoadOpLibrary("libengram_cuda.so", device); });
    if (!own.ok()) LogWarning("CUDA devices compute with libtorch's ops alone", {{"why", own.ToString()}});
    return true;
  }();
  static_cast<void>(tried);
}

// The size, "2.50 GiB", that begins at `text`; empty if none does.
std::string SizeAt(absl::string_view text) {
  const std::vector<absl::string_view> words = absl::StrSplit(text.substr(0, 32), absl::MaxSplits(' ', 2));
  double number = 0;
  if (words.size() < 2 || !absl::SimpleAtod(words[0], &number)) return "";
  const absl::string_view unit = words[1].substr(0, words[1].find_first_not_of("KMGTiBbytes"));
  return unit.empty() ? "" : absl::StrCat(words[0], " ", unit);
}

// Out of libtorch's "Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.20 GiB is free. ...": the
// sizes alone, as the rest names processes.
std::string WhatWasNeeded(absl::string_view what) {
  const auto size_after = [what](absl::string_view before) {
    const size_t place = what.find(before);
    return place == absl::string_view::npos ? std::string() : SizeAt(what.substr(place + before.size()));
  };
  const std::string needed = size_after("Tried to allocate "), left = size_after(" of which ");
  if (needed.empty()) return "";
  return absl::StrCat(" (", needed, " more were needed", left.empty() ? ")" : absl::StrCat(", ", left, " were free)"));
}

}  // namespace

// What is CUDA's lives in libraries that are loaded only where there is a driver, so that a machine without one needs none
// of its wheels.
CudaState FindCuda() {
  static const CudaState found = [] {
    CudaState state;
    state.driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL) != nullptr;
    state.library = state.driver && dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) != nullptr && at::hasCUDA();
    if (state.library) state.devices = static_cast<int>(at::detail::getCUDAHooks().deviceCount());
    return state;
  }();
  return found;
}

absl::Status NoSuchDevice(std::string_view name, const CudaState& state) {
  const std::string there_is_none = absl::StrCat("there is no device ", AbslView(name), ": ");
  if (!state.driver) return absl::FailedPreconditionError(absl::StrCat(there_is_none, "no NVIDIA driver is installed"));
  if (!state.library) {
    return absl::FailedPreconditionError(
        absl::StrCat(there_is_none, "libtorch's CUDA library cannot be loaded; install torch with its CUDA wheels"));
  }
  if (state.devices == 0) return absl::FailedPreconditionError(absl::StrCat(there_is_none, "the driver shows no GPU"));
  return absl::FailedPreconditionError(
      absl::StrCat(there_is_none, "this machine has ",
                   state.devices == 1 ? "cuda:0 alone" : absl::StrCat("cuda:0 to cuda:", state.devices - 1)));
}

std::optional<DeviceMemory> MemoryOf(at::Device device) {
  if (!device.is_cuda()) return std::nullopt;
  const absl::StatusOr<DeviceMemory> memory = GuardTorch([device]() -> absl::StatusOr<DeviceMemory> {
    const auto [left, total] = c10::getDeviceAllocator(device.type())->getMemoryInfo(device.index());
    return DeviceMemory{static_cast<int64_t>(total), static_cast<int64_t>(left)};
  });
  return memory.ok() ? std::optional(*memory) : std::nullopt;
}

int64_t PeakBytesOn(at::Device device) {
  if (!device.is_cuda()) return 0;
  const absl::StatusOr<int64_t> peak = GuardTorch([device]() -> absl::StatusOr<int64_t> {
    constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    return c10::getDeviceAllocator(device.type())->getDeviceStats(device.index()).reserved_bytes[kAll].peak;
  });
  return peak.value_or(0);
}

absl::StatusOr<at::Device> ParseDevice(std::string_view name) {
  if (name == "cpu") return at::Device(at::kCPU);
  int index = 0;
  if (!name.starts_with("cuda:") || !absl::SimpleAtoi(AbslView(name.substr(5)), &index) || index < 0 || index > 127) {
    return InvalidField("device", "is neither \"cpu\" nor \"cuda:N\"");
  }
  if (const CudaState state = FindCuda(); index >= state.devices) return NoSuchDevice(name, state);
  const at::Device device(at::kCUDA, static_cast<at::DeviceIndex>(index));
  LoadKernels(device);
  return device;
}

bool MultipliesBFloat16(at::Device device) {
  if (device.is_cuda()) return true;
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

void BoundShapeCaches() {
  // A training step has fewer than 20 shapes: four products per layer forward, four and four backward, and the head's.
  constexpr const char* kShapes = "32";
  for (const char* variable : {"ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"})
    setenv(variable, kShapes, /*overwrite=*/0);
}

absl::Status StatusOfTorchException(const std::exception& exception) {
  LogError("libtorch failed", {{"what", exception.what()}});
  const absl::string_view what = exception.what();
  if (dynamic_cast<const std::bad_alloc*>(&exception) != nullptr ||
      dynamic_cast<const c10::OutOfMemoryError*>(&exception) != nullptr ||
      absl::StrContains(what, "not enough memory")) {
    return StatusWithReason(
        absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
        absl::StrCat("the device's memory ran out", WhatWasNeeded(what), "; use smaller batches or shorter texts"));
  }
  if (absl::StrContains(what, "CUDA error")) {
    return StatusWithReason(absl::StatusCode::kUnavailable, "DEVICE_FAILED",
                            "the device failed; its process must be restarted");
  }
  return absl::InternalError("the computation failed; the server's log says more");
}

}  // namespace engram::nn
