#pragma once

// Ops out of kernels of our own (launch.h), for the table of a device: each <op>_device.cc enters its functions. They work on
// tensors of whatever device Launch runs on. Nobody but table.cc and the tests includes this.

#include "core/nn/ops/op_table.h"

namespace engram::nn::cuda {

// Keeps `table` as the twins, which the functions fall back to where a kernel does not take what it is given, and overrides
// the entries that there are kernels for. To be called before any of them, once.
void OverrideWithKernels(ops::OpTable& table);
// The twins.
const ops::OpTable& Twins();

void SetActivation(ops::OpTable& table);
void SetAdamW(ops::OpTable& table);
void SetCrossEntropy(ops::OpTable& table);
void SetDropout(ops::OpTable& table);
void SetEmbedding(ops::OpTable& table);
void SetLayerNorm(ops::OpTable& table);
void SetPooling(ops::OpTable& table);
void SetSquaredGradient(ops::OpTable& table);

}  // namespace engram::nn::cuda
