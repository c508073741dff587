#pragma once

// Rotary positions (Su et al., "RoFormer", 2021): pairs of dimensions of queries and keys turned by angles that grow with
// the position, in the pairing of GPT-NeoX and transformers: dimension j with dimension j + w / 2.

#include "ATen/core/Tensor.h"

namespace engram::nn::ops {

// Changes `rows` [T, W] in place, which no other op does: the first `heads` heads of each row, `head_dim` wide each. With
// c_j = table[index_t][j] and s_j = table[index_t][w / 2 + j], for j < w / 2 of each head x:
//   x_j, x_{j + w/2}  <-  x_j c_j - x_{j + w/2} s_j,  x_{j + w/2} c_j + x_j s_j
// `transposed` (the gradient): with -s_j. table fp32 [P, w], w <= head_dim even; index int32 [T], each in [0, P).
void Rotate(const at::Tensor& rows, int64_t heads, int64_t head_dim, const at::Tensor& table, const at::Tensor& index,
            bool transposed);

}  // namespace engram::nn::ops
