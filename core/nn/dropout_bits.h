#pragma once

// The one definition of which elements dropout drops, shared by the reference and the CPU kernels. Elements are drawn
// in groups of 128, which are 16 blocks of Philox side by side, so that 16 lanes draw a group at once: element e of a
// site is element r = e % 128 of group e / 128, and takes half r / 64 of word r / 16 % 4 of block 16 (e / 128) + r
// % 16. Block b has the counter {b low, step, site << 16 | b high, purpose} and the seed as its key. An element is
// dropped if its 16 bits are below round(p * 65536).

#include <cmath>
#include <cstdint>

#include "core/base/random.h"
#include "core/nn/ops.h"

namespace engram::nn {

struct DropoutBits {
  static constexpr int64_t kGroup = 128;

  explicit DropoutBits(const ops::Dropout& dropout)
      : seed(dropout.seed),
        step(static_cast<uint32_t>(dropout.step)),
        site(dropout.site),
        threshold(static_cast<uint32_t>(std::lround(dropout.probability * 65536.0))),
        scale(static_cast<float>(65536.0 / (65536.0 - threshold))) {}

  bool Keeps(uint64_t element) const {
    const uint64_t in_group = element % kGroup, block = element / kGroup * 16 + in_group % 16;
    const uint32_t word = Philox({static_cast<uint32_t>(block), step, site << 16 | static_cast<uint32_t>(block >> 32),
                                  static_cast<uint32_t>(RandomPurpose::kDropout)},
                                 seed)[in_group / 16 % 4];
    return (in_group < 64 ? word & 0xFFFFu : word >> 16) >= threshold;
  }

  uint64_t seed;
  uint32_t step, site, threshold;
  float scale;  // of what is kept
};

// The attention probabilities of head `head` of sequence `sequence` draw the elements from here on, key by key: the
// probability of (query t, key j) is element first + j * AttentionDropoutStride(length) + t.
inline uint64_t FirstAttentionDropout(int64_t sequence, int64_t head, int64_t heads) {
  return static_cast<uint64_t>(sequence * heads + head) << 31;  // a head of 32,000 keys and queries fits
}
inline int64_t AttentionDropoutStride(int64_t length) { return (length + 15) / 16 * 16; }

}  // namespace engram::nn
