#pragma once

// How kernels of devices are written: once, as a body that a team of threads runs for each block of a grid,
//
//   struct Body { pointers and numbers; template <typename Team> ENGRAM_DEVICE void operator()(Team& team, int64_t block) const; };
//
// nvcc makes CUDA kernels of them (launch.cu), and the tests run them on the host (tests/unit/nn/ops/host_launch.cc), where
// the typed tests hold the very same formulas against fp64. A body takes pointers into the device's memory and includes
// nothing of libtorch. What a team offers, all of it called by every thread of the block or by none but for rank and the
// like:
//
//   kLanes                   threads that step together, a warp: 32 on a GPU, 1 on the host
//   rank(), size()           this thread among those of the block
//   lane(), warp()           rank() % kLanes, rank() / kLanes
//   Sync()                   every thread has come so far, and sees what the others wrote before
//   Sum(x), Max(x)           over all threads, the same bits in each of them
//   Shared<T>()              the block's scratch memory, LaunchShape::shared_bytes, aligned to 16 bytes
//
// Sums are taken in an order that depends on the shape alone, so results repeat to the bit on one device.

#include <cstdint>

#if defined(__CUDACC__)
#define ENGRAM_DEVICE __device__ inline
#else
#define ENGRAM_DEVICE inline
#endif

namespace engram::nn::cuda {

constexpr int kMostWarps = 8;  // of a block

struct LaunchShape {
  int64_t blocks = 0;  // below 2^31
  int warps = 1;       // of each block, 1 to kMostWarps
  int64_t shared_bytes = 0;
};

// Runs `body` on the device's `stream` (a cudaStream_t), without waiting for it. Throws c10::Error, "CUDA error: ...", where
// the launch fails. Defined for the bodies that ENGRAM_FOR_EACH_BODY names (bodies.h).
template <typename Body>
void Launch(const Body& body, const LaunchShape& shape, void* stream);

// Warps for `items` threads of work.
constexpr int WarpsFor(int64_t items) {
  const int64_t warps = (items + 31) / 32;
  return static_cast<int>(warps < 1 ? 1 : warps > kMostWarps ? kMostWarps : warps);
}

constexpr int64_t Blocks(int64_t items, int64_t each) { return (items + each - 1) / each; }

}  // namespace engram::nn::cuda
