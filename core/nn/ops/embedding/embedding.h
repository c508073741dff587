#pragma once

// The sum of a token's word, position and type embeddings.

#include "ATen/core/Tensor.h"
#include "core/nn/packed_batch.h"

namespace engram::nn::ops {

// out_t = word[ids_t] + position[positions_t + first_position] + type[type_ids_t] -> [T, d].  word [V, d], position
// [P, d] or undefined, type [K, d] or undefined. An id, position or type that its table does not have throws
// c10::IndexError on the CPU.
at::Tensor EmbeddingSum(const PackedBatch& batch, const at::Tensor& word, const at::Tensor& type,
                        const at::Tensor& position, int64_t first_position);

// grad_table [V, d] (fp32) += scatter of g [R, d] by index int32 [R]; repeated ids add up, in a fixed order.
void EmbeddingWeightGradient(const at::Tensor& g, const at::Tensor& index, const at::Tensor& grad_table);

}  // namespace engram::nn::ops
