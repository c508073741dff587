#pragma once

// The loops of the optimizer over one block of flat fp32 memory. Compiled for several instruction sets and chosen at
// load time; every operation is rounded as written (no contraction, sums in fixed lanes), so that all of them give the
// same bits. Blocks do not overlap.

#include <cstdint>

namespace engram::nn::ops::cpu {

// sum of g^2, in fp64.
double SumOfSquares(int64_t count, const float* g);

// out = scale * g
void Scale(int64_t count, const float* g, float scale, float* out);

struct PenaltyBlock {
  int64_t count;
  const float* importance;
  const float* anchor;
  float strength;
  float step_strength;  // lr * strength: k = step_strength * importance
  float threshold;      // the proximal step takes weights with k above it, the gradient the others
};

struct PenaltySum {
  double sum;                // of strength * importance * (w - anchor)^2, over all; fp32 within the block
  float largest_importance;  // tells whether the proximal step has anything to do
};
// gradient += strength * importance * (w - anchor) where k <= threshold. For blocks of a few thousand elements.
PenaltySum AddPenaltyGradient(const PenaltyBlock& block, const float* w, float* gradient);
// pull += k (anchor - w) and weight += k where k = step_strength * importance > threshold.
void AddProximal(const PenaltyBlock& block, const float* w, float* pull, float* weight);
// w += pull / (1 + weight): with the sums of all penalties, w <- (w + sum k anchor) / (1 + sum k), and exactly w where
// no k is.
void ProximalStep(int64_t count, const float* pull, const float* weight, float* w);

struct AdamWBlock {
  int64_t count;
  float keep;  // 1 - lr * weight_decay, or 1
  float beta1, one_minus_beta1, beta2, one_minus_beta2;
  float step_size;         // lr / (1 - beta1^t)
  float root_correction2;  // sqrt(1 - beta2^t)
  float epsilon;
};
void AdamWUpdate(const AdamWBlock& block, const float* gradient, float* w, float* m, float* v);

// Rounds to the nearest bf16, ties to even; NaN stays NaN.
void RoundToBFloat16(int64_t count, const float* w, uint16_t* out);

}  // namespace engram::nn::ops::cpu
