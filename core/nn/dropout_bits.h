#pragma once

// The one definition of which elements dropout drops, shared by the reference and the CPU kernels. Element e of a site
// draws 16 bits: lane e % 8 of Philox block e / 8, whose counter is {e / 8 low, step, site << 16 | e / 8 high, purpose}
// and whose key is the seed. The element is dropped if the bits are below round(p * 65536).

#include <array>
#include <cmath>
#include <cstdint>

#include "core/base/random.h"
#include "core/nn/ops.h"

namespace engram::nn {

struct DropoutBits {
  explicit DropoutBits(const ops::Dropout& dropout)
      : seed(dropout.seed),
        step(static_cast<uint32_t>(dropout.step)),
        site(dropout.site),
        threshold(static_cast<uint32_t>(std::lround(dropout.probability * 65536.0))),
        scale(static_cast<float>(65536.0 / (65536.0 - threshold))) {}

  // Keep (scale) or drop (0) for the eight elements of one block.
  std::array<float, 8> Block(uint64_t block) const {
    const std::array<uint32_t, 4> bits =
        Philox({static_cast<uint32_t>(block), step, site << 16 | static_cast<uint32_t>(block >> 32),
                static_cast<uint32_t>(RandomPurpose::kDropout)},
               seed);
    std::array<float, 8> mask;
    for (int i = 0; i < 4; ++i) {
      mask[2 * i] = (bits[i] & 0xFFFFu) < threshold ? 0.0F : scale;
      mask[2 * i + 1] = (bits[i] >> 16) < threshold ? 0.0F : scale;
    }
    return mask;
  }

  // Fills mask[0, count) for elements first ... first + count - 1.
  void Fill(uint64_t first, int64_t count, float* mask) const {
    for (int64_t done = 0; done < count;) {
      const uint64_t element = first + done;
      const std::array<float, 8> block = Block(element / 8);
      for (uint64_t lane = element % 8; lane < 8 && done < count; ++lane) mask[done++] = block[lane];
    }
  }

  uint64_t seed;
  uint32_t step, site, threshold;
  float scale;
};

}  // namespace engram::nn
