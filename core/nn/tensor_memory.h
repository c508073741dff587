#pragma once

#include <cstdint>

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

// The most bytes that CPU tensors made by this thread held at once while the meter lived, beyond those that it held
// before. Counts what libtorch allocates on the calling thread, which is where its operations allocate; 0 without
// KeepTensorMemory. Belongs to one thread; meters of a thread may be nested.
class TensorMeter {
 public:
  TensorMeter();
  ~TensorMeter();
  TensorMeter(const TensorMeter&) = delete;
  TensorMeter& operator=(const TensorMeter&) = delete;
  int64_t peak() const;

 private:
  int64_t before_, outer_peak_;
};

}  // namespace engram::nn
