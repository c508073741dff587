#pragma once

namespace engram::nn::cuda {

// Throws c10::Error with "CUDA error: " before `what`, as libtorch does (nn::StatusOfTorchException).
[[noreturn]] void ThrowLaunchError(const char* what);

}  // namespace engram::nn::cuda
