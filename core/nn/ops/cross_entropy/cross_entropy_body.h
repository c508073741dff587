#pragma once

// The kernel of cross_entropy.h.

#include "core/nn/cuda/elements.h"

namespace engram::nn::cuda {

// A row for each block.
struct CrossEntropyBody {
  const float* logits;
  const int64_t* target;  // negative: ignored
  const float* weight;    // or null
  float *loss, *grad;
  int64_t labels;

  template <typename Team>
  ENGRAM_DEVICE void operator()(Team& team, int64_t row) const {
    const float* x = logits + row * labels;
    float* g = grad + row * labels;
    const int64_t own = target[row];
    if (own < 0) {
      for (int64_t c = team.rank(); c < labels; c += team.size()) g[c] = 0;
      if (team.rank() == 0) loss[row] = 0;
      return;
    }
    float largest = -INFINITY;
    for (int64_t c = team.rank(); c < labels; c += team.size()) largest = fmaxf(largest, x[c]);
    largest = team.Max(largest);
    float sum = 0;
    for (int64_t c = team.rank(); c < labels; c += team.size()) sum += c == own ? 0.0F : expf(x[c] - largest);
    // p - 1 at the target is minus the sum of the others: subtracting would leave few digits where p is near 1.
    const float others = team.Sum(sum), total = others + expf(x[own] - largest);
    const float scale = weight == nullptr ? 1.0F : weight[row];
    for (int64_t c = team.rank(); c < labels; c += team.size())
      g[c] = scale * (c == own ? -others : expf(x[c] - largest)) / total;
    if (team.rank() == 0) loss[row] = scale * (logf(total) - (x[own] - largest));
  }
};

}  // namespace engram::nn::cuda
