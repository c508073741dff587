#pragma once

// The kernel that draws dropout masks, asked in the terms of dropout_bits.h.

#include "core/nn/dropout_bits.h"
#include "core/nn/kernels/isa.h"

namespace engram::nn::kernels {

// keep[0, 128 groups): 1 for what is kept, 0 for what is dropped, from element 128 first_group on.
inline void DrawKeep(const DropoutBits& bits, uint64_t first_group, int64_t groups, uint8_t* keep) {
  Kernels().dropout_keep(
      {bits.seed, bits.step, bits.site, static_cast<uint32_t>(RandomPurpose::kDropout), bits.threshold}, first_group,
      groups, keep);
}

}  // namespace engram::nn::kernels
