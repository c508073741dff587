#pragma once

// One row per sequence out of its tokens' rows: hidden [T, d] -> [n, d], and the gradients g [n, d] -> [T, d].

#include "ATen/core/Tensor.h"
#include "core/nn/packed_batch.h"

namespace engram::nn::ops {

// The mean over the sequence's tokens, summed in fp32.
at::Tensor MeanPool(const at::Tensor& hidden, const PackedBatch& batch);
at::Tensor MeanPoolGradient(const at::Tensor& g, const PackedBatch& batch);

// The row of the sequence's first token; the gradient is 0 for all others.
at::Tensor FirstToken(const at::Tensor& hidden, const PackedBatch& batch);
at::Tensor FirstTokenGradient(const at::Tensor& g, const PackedBatch& batch);

}  // namespace engram::nn::ops
