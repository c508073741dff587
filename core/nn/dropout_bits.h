#pragma once

// The one definition of which elements dropout drops, shared by the reference and the CPU kernels. Elements are drawn
// in groups of 128, which are 16 blocks of Philox side by side, so that 16 lanes draw a group at once: element e of a
// site is element r = e % 128 of group e / 128, and takes half r / 64 of word r / 16 % 4 of block 16 (e / 128) + r
// % 16. Block b has the counter {b low, step, site << 16 | b high, purpose} and the seed as its key. An element is
// dropped if its 16 bits are below round(p * 65536).

#include <array>
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

  // What elements 128 group ... 128 group + 127 are multiplied with: 0 or `scale`.
  std::array<float, kGroup> Group(uint64_t group) const {
    std::array<float, kGroup> mask;
    for (size_t lane = 0; lane < 16; ++lane) {
      const uint64_t block = group * 16 + lane;
      const std::array<uint32_t, 4> words =
          Philox({static_cast<uint32_t>(block), step, site << 16 | static_cast<uint32_t>(block >> 32),
                  static_cast<uint32_t>(RandomPurpose::kDropout)},
                 seed);
      for (size_t word = 0; word < 4; ++word) {
        mask[16 * word + lane] = (words[word] & 0xFFFFu) < threshold ? 0.0F : scale;
        mask[64 + 16 * word + lane] = (words[word] >> 16) < threshold ? 0.0F : scale;
      }
    }
    return mask;
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
