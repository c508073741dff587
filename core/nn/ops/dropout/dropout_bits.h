#pragma once

// The one definition of which elements dropout drops, shared by all implementations. Elements are drawn in groups of 128,
// which are 16 blocks of Philox side by side, so that 16 lanes draw a group at once:
//
//   element e of a site   is element r = e % 128 of group e / 128; it takes half r / 64 (0: the low one) of word
//                         r / 16 % 4 of block b = 16 (e / 128) + r % 16
//   block b               has the counter {b low, step, site << 16 | b high, purpose} and the seed as its key
//
// An element is dropped if its 16 bits are below round(p * 65536). A site has 2^48 blocks, which are 2^51 elements.

#include <array>
#include <cmath>
#include <cstdint>

#include "core/base/random.h"
#include "core/nn/ops/dropout/dropout.h"

namespace engram::nn::ops {

struct DropoutBits {
  static constexpr int64_t kGroup = 128;

  explicit DropoutBits(const Dropout& dropout)
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

inline int64_t AttentionDropoutStride(int64_t length) { return (length + 15) / 16 * 16; }

// The attention probabilities of head `head` of sequence `sequence` draw the elements from here on, key by key: the
// probability of (query t, key j) is element first + j * AttentionDropoutStride(length) + t, whatever the order in which
// they are computed. Each head has 2^31 elements, which are 46,336 keys and queries, or the next power of two that holds
// the batch's longest sequence (`max_length` tokens): no two heads share an element.
inline uint64_t FirstAttentionDropout(int64_t sequence, int64_t head, int64_t heads, int64_t max_length) {
  int bits = 31;
  while (max_length * AttentionDropoutStride(max_length) > int64_t{1} << bits) ++bits;
  return static_cast<uint64_t>(sequence * heads + head) << bits;
}

// Whether all heads of a batch find elements of their own in one site.
inline bool AttentionDropoutFits(int64_t sequences, int64_t heads, int64_t max_length) {
  const uint64_t spacing = FirstAttentionDropout(0, 1, heads, max_length);
  return static_cast<uint64_t>(sequences * heads) <= (uint64_t{1} << 51) / spacing;
}

}  // namespace engram::nn::ops
