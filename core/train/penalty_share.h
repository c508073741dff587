#pragma once

// How much of a step is the pull of earlier tasks: what shows a penalty that is there and does next to nothing, which a
// strength far too small gives (docs/ewc.md).

#include <span>

#include "ATen/core/Tensor.h"
#include "core/nn/ops/adamw/adamw.h"
#include "core/train/quadratic_penalty.h"

namespace engram::train {

// Below this share of the task's own gradient, at each of the steps that are looked at, penalties are called weak.
inline constexpr double kWeakPenaltyShare = 0.01;

// Whether step number `step` (from 0) of `total` is looked at: eight of them, evenly spaced, the last among them.
bool LooksAtPenalty(int64_t step, int64_t total);

// Euclidean norm of the penalties' gradient, sum over penalties of strength * importance * (theta - anchor), over the
// elements in `ranges`; summed in fp64. `weights`: fp32 [N]. Holds no more than a piece of it beside its arguments.
double PenaltyGradientNorm(const at::Tensor& weights, std::span<const QuadraticPenalty> penalties,
                           std::span<const nn::ops::ElementRange> ranges);

}  // namespace engram::train
