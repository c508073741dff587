#pragma once

// Kernels of a device against the twins that they stand in for, on the device itself, before anything is computed with them:
// a driver, a card or a libtorch that nobody tried them on must not give other answers.

#include <string>
#include <vector>

#include "c10/core/Device.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops {

struct ProbeResult {
  std::vector<std::string> taken;     // entries of the table that compute as their twins do
  std::vector<std::string> left_out;  // entries that do not, or that fail; ascending
};

// Holds each entry of `table` that is not that of `twins` against it, on small tensors on `device`, in fp32 and bf16, and puts
// the twin's in its place where results differ by more than rounding or something is thrown, or where it has no probe. Attention may draw its dropout
// otherwise than its twin: its forward and backward pass are held against each other. Entries that work only together
// (attention and its gradient) are left out together. Takes a moment; to be called before others compute on the device.
ProbeResult ProbeOps(at::Device device, const OpTable& twins, OpTable& table);

}  // namespace engram::nn::ops
