#pragma once

// Softmax cross-entropy, row by row.

#include "ATen/core/Tensor.h"

namespace engram::nn::ops {

// The target of a row that counts for nothing.
inline constexpr int64_t kIgnored = -100;

struct CrossEntropyResult {
  at::Tensor loss;  // fp32 [R]: weight * -log softmax(logits)[target]; 0 where ignored
  at::Tensor grad;  // fp32 [R, C]: weight * (softmax - onehot); 0 where ignored
};

// logits fp32 [R, C], target int64 [R] in [0, C) or kIgnored, weight fp32 [R] or undefined (1).
CrossEntropyResult CrossEntropy(const at::Tensor& logits, const at::Tensor& target, const at::Tensor& weight);

}  // namespace engram::nn::ops
