#include "tests/unit/nn/ops/host_launch.h"

#include <algorithm>
#include <barrier>
#include <cstddef>
#include <thread>
#include <vector>

#include "core/nn/cuda/bodies.h"
#include "core/nn/cuda/device_ops.h"

namespace engram::nn {
namespace cuda {
namespace {

// What the threads of one block share.
struct Block {
  explicit Block(const LaunchShape& shape)
      : barrier(shape.warps),
        scratch(static_cast<size_t>(shape.shared_bytes) / sizeof(std::max_align_t) + 1),
        parts(static_cast<size_t>(shape.warps)) {}
  std::barrier<> barrier;
  std::vector<std::max_align_t> scratch;
  std::vector<double> parts;
};

// One thread stands for a whole warp of a GPU.
class HostTeam {
 public:
  static constexpr int kLanes = 1;

  HostTeam(Block* block, int rank) : block_(block), rank_(rank) {}
  int rank() const { return rank_; }
  int size() const { return static_cast<int>(block_->parts.size()); }
  int lane() const { return 0; }
  int warp() const { return rank_; }
  void Sync() { block_->barrier.arrive_and_wait(); }
  template <typename T>
  T* Shared() {
    return reinterpret_cast<T*>(block_->scratch.data());
  }
  template <typename T>
  T Sum(T value) {
    return Reduce(value, [](T a, T b) { return a + b; });
  }
  float Max(float value) {
    return Reduce(value, [](float a, float b) { return std::max(a, b); });
  }

 private:
  template <typename T, typename Join>
  T Reduce(T value, const Join& join) {
    Sync();  // an earlier reduction has been read
    block_->parts[static_cast<size_t>(rank_)] = static_cast<double>(value);
    Sync();
    T joined = static_cast<T>(block_->parts[0]);
    for (size_t i = 1; i < block_->parts.size(); ++i) joined = join(joined, static_cast<T>(block_->parts[i]));
    return joined;
  }

  Block* block_;
  int rank_;
};

}  // namespace

template <typename Body>
void Launch(const Body& body, const LaunchShape& shape, void* /*stream*/) {
  Block block(shape);
  const auto run = [&](int rank) {
    HostTeam team(&block, rank);
    for (int64_t b = 0; b < shape.blocks; ++b) {
      body(team, b);
      team.Sync();  // the next block takes the same memory
    }
  };
  std::vector<std::thread> threads;
  for (int rank = 1; rank < shape.warps; ++rank) threads.emplace_back(run, rank);
  run(0);
  for (std::thread& thread : threads) thread.join();
}

#define ENGRAM_INSTANTIATE(...) template void Launch(const __VA_ARGS__& body, const LaunchShape& shape, void* stream);
ENGRAM_FOR_EACH_BODY(ENGRAM_INSTANTIATE)
#undef ENGRAM_INSTANTIATE

}  // namespace cuda

const ops::OpTable& HostKernels() {
  static const ops::OpTable table = [] {
    ops::OpTable made = ops::ReferenceOps();
    cuda::OverrideWithKernels(made);
    return made;
  }();
  return table;
}

}  // namespace engram::nn
