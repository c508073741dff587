#pragma once

// One step of AdamW (Loshchilov & Hutter, "Decoupled weight decay regularization", ICLR 2019; equal to
// torch.optim.AdamW) over flat memory, with quadratic penalties 1/2 strength importance (theta - anchor)^2 in the same
// pass. With k = lr * strength * importance, for each weight and penalty:
//
//   g     <- gradient_scale * gradient + sum over penalties with k <= proximal_above of strength * importance * (theta
//            - anchor)
//   m     <- beta1 m + (1 - beta1) g          v <- beta2 v + (1 - beta2) g^2
//   theta <- theta - lr * weight_decay * theta                          where the range decays
//   theta <- theta - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
//   theta <- (theta + sum k anchor) / (1 + sum k), over penalties with k > proximal_above
//
// The last line is the implicit (proximal) step of those penalties together (Parikh & Boyd, "Proximal algorithms", 2014,
// section 6.1.1).

#include <cstdint>
#include <span>
#include <vector>

#include "ATen/core/Tensor.h"

namespace engram::nn::ops {

// A run of elements [begin, end) that all decay or all do not.
struct ElementRange {
  int64_t begin = 0, end = 0;
  bool decay = true;
};

// Acts on the elements [begin, end) that lie in one of the step's ranges.
struct AdamWPenalty {
  at::Tensor importance;  // fp32 [end - begin], contiguous, >= 0
  at::Tensor anchor;      // fp32 [end - begin], contiguous, not a view of the weights
  int64_t begin = 0, end = 0;
  double strength = 0;        // >= 0; 0: the penalty does nothing at all, and its value is 0
  double proximal_above = 0;  // infinity: never; negative: always
};

struct AdamWArguments {
  at::Tensor weights, first_moment, second_moment;  // fp32 [N], contiguous, changed in place within the ranges alone
  at::Tensor gradients;                             // fp32 [N]
  at::Tensor compute;                               // bf16 [N], receives the rounded weights; or undefined
  std::span<const ElementRange> ranges;             // ascending, disjoint
  std::span<const AdamWPenalty> penalties;
  int64_t step = 1;  // t, from 1
  double lr = 0, gradient_scale = 1;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
};

// Returns each penalty's value at the weights before the step, 1/2 sum strength importance (theta - anchor)^2 over the
// ranges, summed in fp64. Work is cut into fixed chunks: results do not depend on the number of threads.
std::vector<double> AdamWStep(const AdamWArguments& arguments);

// Euclidean norm of gradients (fp32 [N]) within `ranges`: squares summed in fp64, in a fixed order. NaN or infinite
// exactly if an entry is.
double GradientNorm(const at::Tensor& gradients, std::span<const ElementRange> ranges);

}  // namespace engram::nn::ops
