#pragma once

// Kernels of adamw.h: the whole step in one pass over flat memory, kElements for each block.

#include "core/nn/cuda/elements.h"

namespace engram::nn::cuda {

// A run of elements; `first_block`: how many blocks those before it have.
struct FlatRange {
  int64_t first_block, begin, end, decay;
};

constexpr int64_t kFlatElements = 4096;
constexpr int kMostPenalties = 48;     // a kernel's arguments are 4 KiB at most
constexpr float kLargestStep = 1e30F;  // of a proximal step: keeps the pull finite

struct FlatPart {
  int64_t begin, end;
  bool decay;
};

// What block number `block` works on.
ENGRAM_DEVICE FlatPart PartOf(const FlatRange* ranges, int64_t count, int64_t block) {
  int64_t low = 0, high = count - 1;
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (ranges[middle].first_block <= block) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const FlatRange range = ranges[low];
  const int64_t begin = range.begin + (block - range.first_block) * kFlatElements;
  return {begin, begin + kFlatElements < range.end ? begin + kFlatElements : range.end, range.decay != 0};
}

struct FlatPenalty {
  const float *importance, *anchor;  // of the elements [begin, end)
  int64_t begin, end;
  float strength, step_strength, threshold;  // step_strength = lr * strength
};

struct AdamWBody {
  float *weights, *first_moment, *second_moment;
  const float* gradients;
  BFloat16* compute;  // or null
  const FlatRange* ranges;
  int64_t range_count;
  FlatPenalty penalties[kMostPenalties];
  int penalty_count;
  double* values;  // [blocks, penalty_count]: twice each penalty's value before the step, of the block's part
  float gradient_scale, keep, beta1, one_minus_beta1, beta2, one_minus_beta2, step_size, root_correction2, epsilon;

  template <typename Team>
  ENGRAM_DEVICE void operator()(Team& team, int64_t block) const {
    const FlatPart part = PartOf(ranges, range_count, block);
    double sums[kMostPenalties];
    for (int p = 0; p < penalty_count; ++p) sums[p] = 0;
    for (int64_t i = part.begin + team.rank(); i < part.end; i += team.size()) {
      const float before = weights[i];
      float g = gradient_scale * gradients[i];
      for (int p = 0; p < penalty_count; ++p) {
        const FlatPenalty& penalty = penalties[p];
        if (i < penalty.begin || i >= penalty.end) continue;
        const float f = penalty.importance[i - penalty.begin], d = before - penalty.anchor[i - penalty.begin];
        const float pull = penalty.strength * f * d;
        if (!(penalty.step_strength * f > penalty.threshold)) g += pull;
        sums[p] += static_cast<double>(pull * d);
      }
      const float m = beta1 * first_moment[i] + one_minus_beta1 * g;
      const float v = beta2 * second_moment[i] + one_minus_beta2 * g * g;
      first_moment[i] = m;
      second_moment[i] = v;
      float w = before * (part.decay ? keep : 1.0F) - step_size * m / (sqrtf(v) / root_correction2 + epsilon);
      w = Proximal(i, w);
      weights[i] = w;
      if (compute != nullptr) compute[i] = RoundToBFloat16(w);
    }
    for (int p = 0; p < penalty_count; ++p) {
      const double sum = team.Sum(sums[p]);
      if (team.rank() == 0) values[block * penalty_count + p] = sum;
    }
  }

  // The implicit step of all penalties that take one, together.
  ENGRAM_DEVICE float Proximal(int64_t i, float w) const {
    float pull = 0, total = 0;
    for (int p = 0; p < penalty_count; ++p) {
      const FlatPenalty& penalty = penalties[p];
      if (i < penalty.begin || i >= penalty.end) continue;
      const float k = penalty.step_strength * penalty.importance[i - penalty.begin];
      if (!(k > penalty.threshold)) continue;
      const float taken = k < kLargestStep ? k : kLargestStep;
      pull += taken * (penalty.anchor[i - penalty.begin] - w);
      total += taken;
    }
    return w + pull / (1.0F + total);
  }
};

struct SumOfSquaresBody {
  const float* gradients;
  const FlatRange* ranges;
  int64_t range_count;
  double* sums;  // [blocks]

  template <typename Team>
  ENGRAM_DEVICE void operator()(Team& team, int64_t block) const {
    const FlatPart part = PartOf(ranges, range_count, block);
    double sum = 0;
    for (int64_t i = part.begin + team.rank(); i < part.end; i += team.size()) {
      const double g = static_cast<double>(gradients[i]);
      sum += g * g;
    }
    sum = team.Sum(sum);
    if (team.rank() == 0) sums[block] = sum;
  }
};

}  // namespace engram::nn::cuda
