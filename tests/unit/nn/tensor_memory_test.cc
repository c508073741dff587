#include "core/nn/tensor_memory.h"

#include <malloc.h>

#include <cstdint>
#include <vector>

#include "ATen/ops/empty.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/rand.h"
#include "c10/core/CPUAllocator.h"
#include "gtest/gtest.h"

namespace engram::nn {
namespace {

TEST(TensorMemory, IsAlignedAndServesBothInterfaces) {
  const at::Tensor before = at::rand({100, 33});  // from libtorch's own allocator, and freed by it
  KeepTensorMemory();
  for (int64_t bytes = 1; bytes < 5000; bytes = 2 * bytes + 1) {
    const at::Tensor tensor = at::empty({bytes}, at::kByte);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % 64, 0) << bytes;
  }
  EXPECT_EQ(at::empty({0}, at::kFloat).numel(), 0);
  c10::Allocator* allocator = c10::GetCPUAllocator();
  void* raw = allocator->raw_allocate(1000);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(raw) % 64, 0);
  allocator->raw_deallocate(raw);
  allocator->raw_deallocate(allocator->raw_allocate(0));
  EXPECT_TRUE(at::equal(before.clone(), before));
  const at::Tensor weight = at::rand({7, 33});
  EXPECT_TRUE(at::equal(at::linear(before, weight), at::linear(before.clone(), weight)));
}

// Freed blocks between others serve tensors of the same size again; with the C library's aligned allocation of
// glibc < 2.38 the heap grows by every one of them.
TEST(TensorMemory, FreedBlocksServeTheSameSizeAgain) {
  KeepTensorMemory();
  constexpr int64_t kBytes = 1 << 20;
  std::vector<at::Tensor> tensors(100);
  for (at::Tensor& tensor : tensors) tensor = at::empty({kBytes}, at::kByte);
  const size_t heap = mallinfo2().arena;
  for (size_t i = 0; i < tensors.size(); i += 2) tensors[i].reset();
  for (size_t i = 0; i < tensors.size(); i += 2) tensors[i] = at::empty({kBytes}, at::kByte);
  EXPECT_LE(mallinfo2().arena, heap);
}

// The most at once, not the sum; a meter within another one leaves it its own peak.
TEST(TensorMeter, CountsTheMostThatIsHeldAtOnce) {
  KeepTensorMemory();
  const at::Tensor outside = at::empty({1 << 10}, at::kByte);
  const TensorMeter meter;
  EXPECT_EQ(meter.peak(), 0);
  {
    const at::Tensor first = at::empty({3000}, at::kByte);
    const TensorMeter inner;
    at::Tensor second = at::empty({2000}, at::kByte);
    second.reset();
    second = at::empty({1000}, at::kByte);
    EXPECT_EQ(inner.peak(), 2000);
  }
  const at::Tensor later = at::empty({4000}, at::kByte);
  EXPECT_EQ(meter.peak(), 5000);
}

}  // namespace
}  // namespace engram::nn
