#pragma once

// Row kernels of isa_kernels.cc: layer norm, sums over columns, embeddings, dropout, GELU.

#include "core/nn/kernels/isa.h"
#include "core/nn/kernels/lanes.h"

namespace engram::nn::kernels {
namespace {  // NOLINT(google-build-namespaces): see lanes.h

template <typename T>
void LayerNormRow(const LayerNormArguments& a) {
  const auto* x = static_cast<const T*>(a.x);
  const auto* residual = static_cast<const T*>(a.residual);
  const auto* gamma = static_cast<const T*>(a.gamma);
  const auto* beta = static_cast<const T*>(a.beta);
  auto* y = static_cast<T*>(a.y);
  auto* normalized = static_cast<T*>(a.normalized);
  const auto value = [&](int64_t i, int64_t count) {
    Floats s = Load(x + i, count);
    if (a.keep != nullptr) s *= LoadKeep(a.keep + i, a.keep_scale, count);
    if (residual != nullptr) s += Load(residual + i, count);
    return s;
  };
  const auto width = static_cast<float>(a.width);
  Floats sum{}, squares{};
  ForLanes(a.width, [&](int64_t i, int64_t count) { sum += value(i, count); });
  const float mean = Sum(sum) / width;
  const Ints lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  ForLanes(a.width, [&](int64_t i, int64_t count) {
    const Floats centred = value(i, count) - mean;
    const Floats square = centred * centred;
    squares += count == kLanes ? square : (lane < static_cast<int32_t>(count) ? square : Floats{});
  });
  const float rstd = 1.0F / __builtin_sqrtf(Sum(squares) / width + a.eps);
  ForLanes(a.width, [&](int64_t i, int64_t count) {
    const Floats n = (value(i, count) - mean) * rstd;
    Store(y + i, n * Load(gamma + i, count) + Load(beta + i, count), count);
    if (normalized != nullptr) Store(normalized + i, n, count);
  });
  if (a.rstd != nullptr) *a.rstd = rstd;
}

template <typename T>
void LayerNormGradientRow(const LayerNormGradientArguments& a) {
  const auto* g = static_cast<const T*>(a.g);
  const auto* normalized = static_cast<const T*>(a.normalized);
  const auto* gamma = static_cast<const T*>(a.gamma);
  auto* residual = static_cast<T*>(a.residual);
  auto* x = static_cast<T*>(a.x);
  Floats sum{}, projected{};
  ForLanes(a.width, [&](int64_t i, int64_t count) {
    const Floats scaled = Load(g + i, count) * Load(gamma + i, count);
    sum += scaled;
    projected += scaled * Load(normalized + i, count);
  });
  const auto width = static_cast<float>(a.width);
  const float mean = Sum(sum) / width, projection = Sum(projected) / width;
  ForLanes(a.width, [&](int64_t i, int64_t count) {
    const Floats scaled = Load(g + i, count) * Load(gamma + i, count);
    const Floats ds = (scaled - mean - Load(normalized + i, count) * projection) * a.rstd;
    Store(residual + i, ds, count);
    if (a.keep != nullptr) Store(x + i, ds * LoadKeep(a.keep + i, a.keep_scale, count), count);
  });
}

template <typename T>
void ColumnSums(const ColumnSumArguments& a) {
  const auto* g = static_cast<const T*>(a.g);
  const auto* normalized = static_cast<const T*>(a.normalized);
  ForLanes(a.width, [&](int64_t i, int64_t count) {
    Floats sum = Load(a.sum_g + i, count);
    Floats product = normalized != nullptr ? Load(a.sum_product + i, count) : Floats{};
    for (int64_t t = 0; t < a.rows; ++t) {
      const Floats value = Load(g + t * a.stride + i, count);
      sum += value;
      if (normalized != nullptr) product += value * Load(normalized + t * a.stride + i, count);
    }
    Store(a.sum_g + i, sum, count);
    if (normalized != nullptr) Store(a.sum_product + i, product, count);
  });
}

template <typename T>
void EmbeddingRow(const EmbeddingArguments& a) {
  const auto* word = static_cast<const T*>(a.word);
  const auto* position = static_cast<const T*>(a.position);
  const auto* type = static_cast<const T*>(a.type);
  ForLanes(a.width, [&](int64_t i, int64_t count) {
    Floats sum = Load(word + i, count);
    if (position != nullptr) sum += Load(position + i, count);
    if (type != nullptr) sum += Load(type + i, count);
    Store(static_cast<T*>(a.out) + i, sum, count);
  });
}

struct ProductHalves {
  Words low, high;
};
// The 64-bit products of 16 pairs of 32-bit numbers, as their low and high words.
inline ProductHalves Multiply(Words a, uint32_t factor) {
  using Longs = uint64_t __attribute__((vector_size(128)));
  const Longs product = __builtin_convertvector(a, Longs) * uint64_t{factor};
  return {__builtin_convertvector(product, Words), __builtin_convertvector(product >> 32, Words)};
}

// Philox 4x32-10 (core/base/random.h) of 16 blocks whose counters differ in their first word.
inline void PhiloxLanes(Words c0, uint32_t second, uint32_t third, uint32_t fourth, uint64_t key, Words out[4]) {
  Words c1 = Words{} + second, c2 = Words{} + third, c3 = Words{} + fourth;
  auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const ProductHalves a = Multiply(c0, 0xD2511F53u), b = Multiply(c2, 0xCD9E8D57u);
    c0 = b.high ^ c1 ^ k0;
    c1 = b.low;
    c2 = a.high ^ c3 ^ k1;
    c3 = a.low;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

inline void DropoutKeep(const DropoutArguments& a, uint64_t first_group, int64_t groups, uint8_t* keep) {
  const Words lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  for (int64_t g = 0; g < groups; ++g, keep += 128) {
    const uint64_t block = (first_group + static_cast<uint64_t>(g)) * 16;
    Words words[4];
    PhiloxLanes(lane + static_cast<uint32_t>(block), a.step, a.site << 16 | static_cast<uint32_t>(block >> 32),
                a.purpose, a.seed, words);
    for (int w = 0; w < 4; ++w) {
      const Words low = (words[w] & 0xFFFFu) < a.threshold ? Words{} : Words{} + 1u;
      const Words high = (words[w] >> 16) < a.threshold ? Words{} : Words{} + 1u;
      StoreRaw(keep + 16 * w, kLanes, __builtin_convertvector(low, Bytes));
      StoreRaw(keep + 64 + 16 * w, kLanes, __builtin_convertvector(high, Bytes));
    }
  }
}

template <typename T>
void ApplyDropout(int64_t count, const void* x, const uint8_t* keep, float scale, void* out) {
  ForLanes(count, [&](int64_t i, int64_t n) {
    Store(static_cast<T*>(out) + i, Load(static_cast<const T*>(x) + i, n) * LoadKeep(keep + i, scale, n), n);
  });
}

// gelu'(x) = Phi(x) + x phi(x). erf by Abramowitz and Stegun 7.1.26 (absolute error below 1.5e-7), whose exp(-x^2 / 2)
// phi shares.
inline void GeluGradient(int64_t count, const void* g, const void* x, void* out) {
  ForLanes(count, [&](int64_t i, int64_t n) {
    const Floats value = Load(static_cast<const Half*>(x) + i, n);
    const Floats magnitude = (value < 0.0F ? -value : value) * 0.70710678118654752F;
    const Floats bell = Exp(-0.5F * value * value);
    const Floats t = 1.0F / (1.0F + 0.3275911F * magnitude);
    Floats p = Fill(1.061405429F);
    p = p * t - 1.453152027F;
    p = p * t + 1.421413741F;
    p = p * t - 0.284496736F;
    p = p * t + 0.254829592F;
    const Floats half_tail = 0.5F * p * t * bell;  // 1 - Phi(|x|)
    const Floats phi = value < 0.0F ? half_tail : 1.0F - half_tail;
    const Floats derivative = phi + value * bell * 0.39894228040143268F;
    Store(static_cast<Half*>(out) + i, Load(static_cast<const Half*>(g) + i, n) * derivative, n);
  });
}

inline void AddPowers(int64_t count, const float* x, float weight, bool absolute, float* total) {
  ForLanes(count, [&](int64_t i, int64_t n) {
    const Floats value = Load(x + i, n);
    const Floats power = absolute ? (value < 0.0F ? -value : value) : value * value;
    Store(total + i, Load(total + i, n) + weight * power, n);
  });
}

}  // namespace
}  // namespace engram::nn::kernels
