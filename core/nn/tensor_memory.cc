#include "core/nn/tensor_memory.h"

#include <malloc.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#include "c10/core/Allocator.h"
#include "c10/core/CPUAllocator.h"

namespace engram::nn {
namespace {

constexpr size_t kAlignment = 64;  // a cache line, and the widest vector

// Stands right before the data.
struct Header {
  void* block;  // what malloc gave
  size_t bytes;
};
constexpr size_t kBefore = sizeof(Header);

// What the tensors of this thread hold, and the most that they have held.
thread_local int64_t held = 0, most_held = 0;

void Free(void* data) {
  if (data == nullptr) return;
  const Header header = static_cast<Header*>(data)[-1];
  held -= static_cast<int64_t>(header.bytes);
  std::free(header.block);
}

class TensorAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, at::kCPU};
    if (bytes > std::numeric_limits<size_t>::max() - kAlignment - kBefore) throw std::bad_alloc();
    void* block = std::malloc(bytes + kAlignment + kBefore);
    if (block == nullptr) throw std::bad_alloc();
    const uintptr_t first = reinterpret_cast<uintptr_t>(block) + kBefore;
    auto* data = reinterpret_cast<void*>((first + kAlignment - 1) & ~(kAlignment - 1));
    static_cast<Header*>(data)[-1] = {block, bytes};
    held += static_cast<int64_t>(bytes);
    most_held = std::max(most_held, held);
    return {data, data, &Free, at::kCPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &Free; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
};

}  // namespace

void KeepTensorMemory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the most it accepts
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  static TensorAllocator allocator;
  constexpr uint8_t kAboveDefault = 1;
  c10::SetCPUAllocator(&allocator, kAboveDefault);
}

TensorMeter::TensorMeter() : before_(held), outer_peak_(most_held) { most_held = held; }

TensorMeter::~TensorMeter() { most_held = std::max(most_held, outer_peak_); }

int64_t TensorMeter::peak() const { return most_held - before_; }

}  // namespace engram::nn
