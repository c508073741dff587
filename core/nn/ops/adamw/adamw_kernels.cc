#include "core/nn/ops/adamw/adamw_kernels.h"

#include <cmath>

#if defined(__x86_64__) && defined(__ELF__) && !defined(__SANITIZE_ADDRESS__)
#define ENGRAM_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define ENGRAM_CLONES
#endif

namespace engram::nn::ops::cpu {
namespace {

constexpr int kLanes = 16;
constexpr float kLargestStep = 1e30F;  // keeps k (anchor - w) finite

}  // namespace

ENGRAM_CLONES double SumOfSquares(int64_t count, const float* g) {
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const double value = g[i + lane];
      lanes[lane] += value * value;
    }
  }
  for (int lane = 0; i < count; ++i, ++lane) lanes[lane] += static_cast<double>(g[i]) * g[i];
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

ENGRAM_CLONES void Scale(int64_t count, const float* g, float scale, float* __restrict out) {
  for (int64_t i = 0; i < count; ++i) out[i] = g[i] * scale;
}

ENGRAM_CLONES PenaltySum AddPenaltyGradient(const PenaltyBlock& block, const float* w, float* __restrict gradient) {
  const float *f = block.importance, *anchor = block.anchor;
  const float strength = block.strength, step_strength = block.step_strength, threshold = block.threshold;
  float sums[kLanes] = {}, largest[kLanes] = {};
  const auto add = [&](int64_t i, int lane) {
    const float importance = f[i], d = w[i] - anchor[i], pull = strength * importance * d;
    gradient[i] += step_strength * importance > threshold ? 0.0F : pull;
    sums[lane] += pull * d;
    largest[lane] = importance > largest[lane] ? importance : largest[lane];
  };
  int64_t i = 0;
  for (; i + kLanes <= block.count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) add(i + lane, lane);
  }
  for (int lane = 0; i < block.count; ++i, ++lane) add(i, lane);
  PenaltySum result{0, 0};
  for (int lane = 0; lane < kLanes; ++lane) {
    result.sum += static_cast<double>(sums[lane]);
    result.largest_importance = largest[lane] > result.largest_importance ? largest[lane] : result.largest_importance;
  }
  return result;
}

ENGRAM_CLONES void AddProximal(const PenaltyBlock& block, const float* w, float* __restrict pull,
                               float* __restrict weight) {
  const float *f = block.importance, *anchor = block.anchor;
  const float step_strength = block.step_strength, threshold = block.threshold;
  for (int64_t i = 0; i < block.count; ++i) {
    const float k = step_strength * f[i];
    const float taken = k > threshold ? (k < kLargestStep ? k : kLargestStep) : 0.0F;
    pull[i] += taken * (anchor[i] - w[i]);
    weight[i] += taken;
  }
}

ENGRAM_CLONES void ProximalStep(int64_t count, const float* pull, const float* weight, float* __restrict w) {
  for (int64_t i = 0; i < count; ++i) w[i] += pull[i] / (1.0F + weight[i]);
}

ENGRAM_CLONES void AdamWUpdate(const AdamWBlock& block, const float* gradient, float* __restrict w, float* __restrict m,
                               float* __restrict v) {
  const AdamWBlock c = block;
  for (int64_t i = 0; i < c.count; ++i) {
    const float g = gradient[i];
    const float first = c.beta1 * m[i] + c.one_minus_beta1 * g;
    const float second = c.beta2 * v[i] + c.one_minus_beta2 * g * g;
    m[i] = first;
    v[i] = second;
    w[i] = w[i] * c.keep - c.step_size * first / (std::sqrt(second) / c.root_correction2 + c.epsilon);
  }
}

ENGRAM_CLONES void RoundToBFloat16(int64_t count, const float* w, uint16_t* __restrict out) {
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = __builtin_bit_cast(uint32_t, w[i]);
    const uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
    out[i] = static_cast<uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? 0x7FC0u : rounded);
  }
}

}  // namespace engram::nn::ops::cpu
