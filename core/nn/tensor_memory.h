#pragma once

namespace engram::nn {

// How a process that computes on the CPU gets the memory of its tensors; to be called once, before threads start. A
// training step frees and allocates the same large tensors over and over, so
//
//   * the C library keeps what is freed instead of handing it back to the kernel, which would clear the pages anew each
//     time (10 % of a training step, measured);
//   * tensors are aligned here, within an ordinary block, and not by the C library: the aligned allocation of glibc
//     before 2.38 cannot reuse a freed block for another of the same size, and kept a third more than the tensors
//     needed (a training step of MiniLM: 574 MiB of heap for 447 MiB of tensors, measured).
void KeepTensorMemory();

}  // namespace engram::nn
