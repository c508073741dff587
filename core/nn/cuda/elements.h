#pragma once

// Elements of activations in kernels: fp32, or bf16 as its upper 16 bits. Arithmetic is done in fp32.

#include <cmath>
#include <cstdint>

#include "core/nn/cuda/launch.h"
#if !defined(__CUDACC__)
#include <bit>
#endif

namespace engram::nn::cuda {

struct BFloat16 {
  uint16_t bits;
};

ENGRAM_DEVICE float FloatOfBits(uint32_t bits) {
#if defined(__CUDACC__)
  return __uint_as_float(bits);
#else
  return std::bit_cast<float>(bits);
#endif
}
ENGRAM_DEVICE uint32_t BitsOfFloat(float value) {
#if defined(__CUDACC__)
  return __float_as_uint(value);
#else
  return std::bit_cast<uint32_t>(value);
#endif
}

ENGRAM_DEVICE float ToFloat(float value) { return value; }
ENGRAM_DEVICE float ToFloat(BFloat16 value) { return FloatOfBits(static_cast<uint32_t>(value.bits) << 16); }

// To the nearest, ties to even; NaN stays NaN.
ENGRAM_DEVICE BFloat16 RoundToBFloat16(float value) {
  const uint32_t bits = BitsOfFloat(value);
  const uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
  return {static_cast<uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? 0x7FC0u : rounded)};
}

ENGRAM_DEVICE void Store(float* to, float value) { *to = value; }
ENGRAM_DEVICE void Store(BFloat16* to, float value) { *to = RoundToBFloat16(value); }

}  // namespace engram::nn::cuda
