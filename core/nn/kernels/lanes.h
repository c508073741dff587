#pragma once

// Sixteen fp32 numbers at a time, in the compilers' vector extension: one register with AVX-512, two with AVX2, four
// without. Only for isa_kernels.cc and its parts, which are compiled once for each instruction set: everything here has
// internal linkage, so that no function compiled for a newer processor can be picked by the linker for an older one.
// The order of every sum is the same on every processor and for every number of threads.

#include <cstdint>

namespace engram::nn::kernels {
namespace {  // NOLINT(google-build-namespaces): see above

using Half = uint16_t;  // raw bf16

constexpr int kLanes = 16;
using Floats = float __attribute__((vector_size(64)));
using Ints = int32_t __attribute__((vector_size(64)));
using Words = uint32_t __attribute__((vector_size(64)));
using Halves = uint16_t __attribute__((vector_size(32)));
using Bytes = uint8_t __attribute__((vector_size(16)));

inline Floats Fill(float value) { return Floats{} + value; }

template <typename Vector, typename T>
inline Vector LoadRaw(const T* p, int64_t count) {
  Vector v{};
  if (count >= kLanes) {
    __builtin_memcpy(&v, p, sizeof v);
  } else {
    __builtin_memcpy(&v, p, static_cast<uint64_t>(count) * sizeof(T));
  }
  return v;
}
template <typename Vector, typename T>
inline void StoreRaw(T* p, int64_t count, const Vector& v) {
  if (count >= kLanes) {
    __builtin_memcpy(p, &v, sizeof v);
  } else {
    __builtin_memcpy(p, &v, static_cast<uint64_t>(count) * sizeof(T));
  }
}

// bf16 bits of each lane in the low half; round to nearest even, NaN stays NaN.
inline Words RoundToHalf(Floats value) {
  const Words bits = __builtin_bit_cast(Words, value);
  const Words rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
  return (bits & 0x7FFFFFFFu) > 0x7F800000u ? Words{} + 0x7FC0u : rounded;
}

// The first `count` (at most 16) elements at p; lanes past them are 0.
inline Floats Load(const float* p, int64_t count = kLanes) { return LoadRaw<Floats>(p, count); }
inline Floats Load(const Half* p, int64_t count = kLanes) {
  const Words wide = __builtin_convertvector(LoadRaw<Halves>(p, count), Words) << 16;
  return __builtin_bit_cast(Floats, wide);
}
inline void Store(float* p, Floats value, int64_t count = kLanes) { StoreRaw(p, count, value); }
inline void Store(Half* p, Floats value, int64_t count = kLanes) {
  StoreRaw(p, count, __builtin_convertvector(RoundToHalf(value), Halves));
}

// Bytes 0 or 1 of a dropout mask as 0 or `scale`.
inline Floats LoadKeep(const uint8_t* keep, float scale, int64_t count = kLanes) {
  const Ints wide = __builtin_convertvector(LoadRaw<Bytes>(keep, count), Ints);
  return __builtin_convertvector(wide, Floats) * scale;
}

inline float Sum(Floats v) {
  float lanes[kLanes];
  __builtin_memcpy(lanes, &v, sizeof lanes);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

// Lane i of row r becomes lane r of row i: swaps the off-diagonal blocks of size 1, 2, 4 and 8 in turn.
template <int kStep>
inline void SwapBlocks(Words rows[kLanes]) {
  for (int r = 0; r < kLanes; ++r) {
    if ((r & kStep) != 0) continue;
    const Words a = rows[r], b = rows[r + kStep];
    if constexpr (kStep == 1) {
      rows[r] = __builtin_shufflevector(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30);
      rows[r + 1] = __builtin_shufflevector(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
    } else if constexpr (kStep == 2) {
      rows[r] = __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
      rows[r + 2] = __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    } else if constexpr (kStep == 4) {
      rows[r] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
      rows[r + 4] = __builtin_shufflevector(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    } else {
      rows[r] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
      rows[r + 8] = __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    }
  }
}
inline void Transpose(Words rows[kLanes]) {
  SwapBlocks<1>(rows);
  SwapBlocks<2>(rows);
  SwapBlocks<4>(rows);
  SwapBlocks<8>(rows);
}

// Calls body(i, count) for i = 0, 16, 32, ...; count is 16 but for the last call.
template <typename Body>
inline void ForLanes(int64_t count, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(i, int64_t{kLanes});
  if (i < count) body(i, count - i);
}

// exp by x = n ln 2 + r, |r| <= ln 2 / 2, and the Taylor polynomial of degree 7 (remainder below 1e-8 relative). For
// x <= 88; below -87 the result is 0.
inline Floats Exp(Floats x) {
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer, whose bits stand at the bottom
  const Floats clamped = x < -87.0F ? Fill(-87.0F) : x;
  const Floats shifted = clamped * 1.44269504088896341F + kRound;
  const Floats n = shifted - kRound;
  const Floats r = clamped - n * 0.693145751953125F - n * 1.42860682030941723e-6F;  // ln 2 in two parts
  Floats p = Fill(1.0F / 5040.0F);
  p = p * r + 1.0F / 720.0F;
  p = p * r + 1.0F / 120.0F;
  p = p * r + 1.0F / 24.0F;
  p = p * r + 1.0F / 6.0F;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const Ints power = __builtin_bit_cast(Ints, shifted) << 23;  // the bits above the integer's are shifted out
  const Floats result = __builtin_bit_cast(Floats, __builtin_bit_cast(Ints, p) + power);
  return x < -87.0F ? Floats{} : result;
}

}  // namespace
}  // namespace engram::nn::kernels
