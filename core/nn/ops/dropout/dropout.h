#pragma once

// Dropout with a mask that is a pure function of (seed, step, site, element): backward recomputes it instead of storing
// it. Which elements it drops: dropout_bits.h.

#include <cstdint>
#include <span>

#include "ATen/core/Tensor.h"

namespace engram::nn::ops {

// The probability, in [0, 1), is quantised to 1/65536 (16 random bits per element); 0: identity.
struct Dropout {
  float probability = 0;
  uint64_t seed = 0;
  uint64_t step = 0;  // micro-batch count
  uint32_t site = 0;  // which dropout of the network this is, below 65536
  bool active() const { return probability > 0; }
};

// Dropout on its own (before a classifier): x times the mask's 0 or 1 / (1 - probability), elements counted row by row.
// Forward and backward are the same function. `x` itself if dropout is not active.
at::Tensor ApplyDropout(const at::Tensor& x, const Dropout& dropout);

// The mask itself, for an active dropout: row r is what elements first[r] ... first[r] + count - 1 are multiplied with, 0 or
// 1 / (1 - probability). first: multiples of 128. fp32 [first.size(), count] on `device`.
at::Tensor DropoutMask(const Dropout& dropout, std::span<const int64_t> first, int64_t count, at::Device device);

}  // namespace engram::nn::ops
