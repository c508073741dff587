#pragma once

// The mask of core/nn/ops/dropout/dropout_bits.h inside of kernels. One block of Philox holds the bits of eight elements
// that lie 16 apart: a thread takes such a slot of eight at a time, so that each block is drawn once, and 16 threads side by
// side read neighbouring elements.

#include <cstdint>

#include "core/base/random.h"
#include "core/nn/cuda/launch.h"

namespace engram::nn::cuda {

// ops::DropoutBits as a kernel takes it.
struct DropoutKey {
  uint64_t seed = 0;
  uint32_t step = 0, site = 0, threshold = 0;
  float scale = 1;
  bool active = false;
};

constexpr int kSlot = 8;

// factor[k]: 0 or `scale`, of element 128 group + lane + 16 k; all 1 if dropout is not active.
ENGRAM_DEVICE void DropoutFactors(const DropoutKey& key, uint64_t group, uint32_t lane, float (&factor)[kSlot]) {
  if (!key.active) {
    for (int k = 0; k < kSlot; ++k) factor[k] = 1;
    return;
  }
  const uint64_t block = group * 16 + lane;
  const auto words =
      Philox({static_cast<uint32_t>(block), key.step, key.site << 16 | static_cast<uint32_t>(block >> 32),
              static_cast<uint32_t>(RandomPurpose::kDropout)},
             key.seed);
  for (int word = 0; word < 4; ++word) {
    factor[word] = (words[word] & 0xFFFFu) < key.threshold ? 0.0F : key.scale;
    factor[4 + word] = (words[word] >> 16) < key.threshold ? 0.0F : key.scale;
  }
}

// Calls visit(i, factor of element first + i) for those i in [0, count) that are this thread's. The same thread gets the
// same i whether or not dropout is active.
template <typename Visit>
ENGRAM_DEVICE void ForEachElement(int64_t rank, int64_t size, uint64_t first, int64_t count, const DropoutKey& key,
                                  const Visit& visit) {
  const uint64_t first_group = first / 128, last_group = (first + static_cast<uint64_t>(count) + 127) / 128;
  const int64_t slots = static_cast<int64_t>(last_group - first_group) * 16;
  for (int64_t slot = rank; slot < slots; slot += size) {
    const uint64_t group = first_group + static_cast<uint64_t>(slot / 16);
    const uint32_t lane = static_cast<uint32_t>(slot % 16);
    float factor[kSlot];
    DropoutFactors(key, group, lane, factor);
    for (int k = 0; k < kSlot; ++k) {
      const int64_t i = static_cast<int64_t>(group * 128 + lane + 16 * static_cast<uint32_t>(k) - first);
      if (i >= 0 && i < count) visit(i, factor[k]);
    }
  }
}

// Threads for one row of `width` elements.
constexpr int RowWarps(int64_t width) { return WarpsFor(width / kSlot); }

}  // namespace engram::nn::cuda
