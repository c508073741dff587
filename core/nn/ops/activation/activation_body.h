#pragma once

// Kernels of activation.h.

#include "core/nn/cuda/elements.h"
#include "core/nn/ops/activation/activation_kind.h"

namespace engram::nn::cuda {

constexpr float kRootHalf = 0.70710678118654752F;       // sqrt(1 / 2)
constexpr float kNormalDensity = 0.39894228040143268F;  // 1 / sqrt(2 pi)
constexpr float kRootTwoOverPi = 0.79788456080286536F;  // sqrt(2 / pi)
constexpr float kGeluCubic = 0.044715F;

ENGRAM_DEVICE float Activated(float x, Activation act) {
  switch (act) {
    case Activation::kGelu:
      return 0.5F * x * (1.0F + erff(x * kRootHalf));
    case Activation::kGeluTanh:
      return 0.5F * x * (1.0F + tanhf(kRootTwoOverPi * (x + kGeluCubic * x * x * x)));
    case Activation::kRelu:
      return x > 0 ? x : x != x ? x : 0.0F;
    case Activation::kSilu:
      return x / (1.0F + expf(-x));
    case Activation::kTanh:
      break;
  }
  return tanhf(x);
}

ENGRAM_DEVICE float ActivationDerivative(float x, Activation act) {
  switch (act) {
    case Activation::kGelu:
      return 0.5F * (1.0F + erff(x * kRootHalf)) + x * kNormalDensity * expf(-0.5F * x * x);
    case Activation::kGeluTanh: {
      const float t = tanhf(kRootTwoOverPi * (x + kGeluCubic * x * x * x));
      return 0.5F * (1.0F + t) + 0.5F * x * (1.0F - t * t) * kRootTwoOverPi * (1.0F + 3.0F * kGeluCubic * x * x);
    }
    case Activation::kRelu:
      return x > 0 ? 1.0F : 0.0F;
    case Activation::kSilu: {
      const float s = 1.0F / (1.0F + expf(-x));
      return s * (1.0F + x * (1.0F - s));
    }
    case Activation::kTanh:
      break;
  }
  const float t = tanhf(x);
  return 1.0F - t * t;
}

// A row for each block: y = act(rows + bias).
template <typename T>
struct BiasActivationBody {
  const T *rows, *bias;  // bias: or null
  T *pre, *y;            // pre: or null, may be `rows`
  int64_t width;
  Activation act;

  template <typename Team>
  ENGRAM_DEVICE void operator()(Team& team, int64_t row) const {
    const int64_t first = row * width;
    for (int64_t i = team.rank(); i < width; i += team.size()) {
      float value = ToFloat(rows[first + i]);
      if (bias != nullptr) {
        // What is activated is what is kept, rounded as it is.
        T sum;
        Store(&sum, value + ToFloat(bias[i]));
        value = ToFloat(sum);
      }
      if (pre != nullptr) Store(pre + first + i, value);
      Store(y + first + i, Activated(value, act));
    }
  }
};

template <typename T>
struct ActivationGradientBody {
  static constexpr int64_t kElements = 4096;

  const T *g, *pre;
  T* out;
  int64_t count;
  Activation act;

  template <typename Team>
  ENGRAM_DEVICE void operator()(Team& team, int64_t block) const {
    const int64_t end = (block + 1) * kElements < count ? (block + 1) * kElements : count;
    for (int64_t i = block * kElements + team.rank(); i < end; i += team.size())
      Store(out + i, ToFloat(g[i]) * ActivationDerivative(ToFloat(pre[i]), act));
  }
};

}  // namespace engram::nn::cuda
