#pragma once

// Which devices `auto` stands for in a configuration.

#include "core/base/status.h"
#include "server/config.h"

namespace engram::server {

inline constexpr char kAutoDevice[] = "auto";

// Puts what is there in the place of `auto`: for jobs every CUDA device, for inference the first; the CPU where there is none.
// INVALID_ARGUMENT (field "devices") for `auto` beside other devices.
absl::Status ChooseDevices(int cuda_devices, Config& config);

// Whether `auto` stands anywhere.
bool HasAutoDevices(const Config& config);

}  // namespace engram::server
