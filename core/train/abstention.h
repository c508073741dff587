#pragma once

// When a classifier should say that none of its labels fits, chosen on texts that it was not trained on.

#include <span>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/checkpoint/manifest.h"

namespace engram::train {

// Share of the texts that the threshold lets be answered: the operating point of Hendrycks and Gimpel, "A baseline for
// detecting misclassified and out-of-distribution examples in neural networks", ICLR 2017.
inline constexpr double kAnsweredShare = 0.95;
// Bounds of a temperature. Where every validation text is answered rightly the likeliest one is 0, at which every text is
// certain; from 0.5 on, texts stay apart in fp64.
inline constexpr double kLowestTemperature = 0.5, kHighestTemperature = 20;

// The temperature that makes the labels most likely (Guo et al., "On calibration of modern neural networks", ICML 2017;
// found to 1e-6 in its logarithm, in fp64), and the highest threshold that still answers kAnsweredShare of the texts, of
// confidences max_c softmax(logits / temperature)_c. logits: fp32 [n, C] on the CPU, finite; labels [n] in [0, C).
// INVALID_ARGUMENT without texts.
absl::StatusOr<checkpoint::Abstention> ChooseAbstention(const at::Tensor& logits, std::span<const int64_t> labels);

// max_c softmax(logits / temperature)_c, in fp64.
double Confidence(std::span<const float> logits, double temperature);

}  // namespace engram::train
