#include "core/nn/device.h"

#include <dlfcn.h>

#include <cstdlib>

#include "ATen/Context.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/log.h"
#include "core/nn/ops/op_library.h"

namespace engram::nn {
namespace {

// What is CUDA's lives in libraries that are loaded only when somebody asks for a CUDA device, so that a machine without
// one needs none of its wheels. Without kernels of our own the device runs the reference ops.
bool LoadCuda() {
  static const bool loaded = [] {
    if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr || !at::hasCUDA()) return false;
    const absl::Status own = ops::LoadOpLibrary("libengram_cuda.so", at::kCUDA);
    if (!own.ok()) LogWarning("CUDA devices compute with libtorch's ops alone", {{"why", own.ToString()}});
    return true;
  }();
  return loaded;
}

}  // namespace

absl::StatusOr<at::Device> ParseDevice(std::string_view name) {
  if (name == "cpu") return at::Device(at::kCPU);
  int index = 0;
  if (!name.starts_with("cuda:") || !absl::SimpleAtoi(AbslView(name.substr(5)), &index) || index < 0 || index > 127) {
    return InvalidField("device", "is neither \"cpu\" nor \"cuda:N\"");
  }
  if (!LoadCuda() || index >= static_cast<int>(at::detail::getCUDAHooks().deviceCount())) {
    return absl::FailedPreconditionError(absl::StrCat(
        "there is no device ", AbslView(name), " (no GPU, no driver, or libtorch's CUDA library is not installed)"));
  }
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
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
    return StatusWithReason(absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
                            "the device's memory ran out; use smaller batches or shorter texts");
  }
  if (absl::StrContains(what, "CUDA error")) {
    return StatusWithReason(absl::StatusCode::kUnavailable, "DEVICE_FAILED",
                            "the device failed; its process must be restarted");
  }
  return absl::InternalError("the computation failed; the server's log says more");
}

}  // namespace engram::nn
