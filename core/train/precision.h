#pragma once

// Which precision a choice of the user's means on a device.

#include "core/nn/device.h"
#include "core/nn/parameter_buffer.h"
#include "core/train/train_options.h"

namespace engram::train {

// kAuto: bf16 where the hardware multiplies bf16 natively (CUDA; CPUs with AMX or AVX512-BF16), else fp32.
nn::Precision ResolvePrecision(PrecisionChoice choice, at::Device device);

}  // namespace engram::train
