#pragma once

// The devices' kernels on the host (core/nn/cuda/launch.h): a table of ops that computes with the very bodies that nvcc compiles,
// each block by a team of threads that run at once and wait for each other where the body says.

#include "core/nn/ops/op_table.h"

namespace engram::nn {

// The reference with every kernel of our own in it.
const ops::OpTable& HostKernels();

}  // namespace engram::nn
