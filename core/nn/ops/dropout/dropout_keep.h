#pragma once

// The kernel that draws dropout masks, asked in the terms of dropout_bits.h. For <op>_cpu.cc.

#include <cstdint>
#include <vector>

#include "core/nn/kernels/isa.h"
#include "core/nn/ops/dropout/dropout_bits.h"

namespace engram::nn::ops::cpu {

// keep[0, 128 groups): 1 for what is kept, 0 for what is dropped, from element 128 first_group on.
inline void DrawKeep(const DropoutBits& bits, uint64_t first_group, int64_t groups, uint8_t* keep) {
  kernels::Kernels().dropout_keep(
      {bits.seed, bits.step, bits.site, static_cast<uint32_t>(RandomPurpose::kDropout), bits.threshold}, first_group,
      groups, keep);
}

// The dropout mask of one row of a [rows, width] tensor at a time.
class RowMask {
 public:
  RowMask(const Dropout& dropout, int64_t width) : bits_(dropout), width_(width), active_(dropout.active()) {
    if (active_) keep_.resize((width + 2 * DropoutBits::kGroup - 1) / DropoutBits::kGroup * DropoutBits::kGroup);
  }
  // [width] bytes, valid until the next call; null if dropout is not active.
  const uint8_t* Row(int64_t row) {
    if (!active_) return nullptr;
    const int64_t element = row * width_, first = element / DropoutBits::kGroup;
    const int64_t last = (element + width_ - 1) / DropoutBits::kGroup;
    DrawKeep(bits_, static_cast<uint64_t>(first), last - first + 1, keep_.data());
    return keep_.data() + (element - first * DropoutBits::kGroup);
  }
  float scale() const { return bits_.scale; }

 private:
  const DropoutBits bits_;
  const int64_t width_;
  const bool active_;
  std::vector<uint8_t> keep_;
};

}  // namespace engram::nn::ops::cpu
