#include "core/nn/ops/squared_gradient/squared_gradient.h"

#include "ATen/ops/zeros_like.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops {

void SquaredLinearGradient(const at::Tensor& g, const at::Tensor& x, std::span<const int32_t> cu_rows,
                           std::span<const float> weight, bool absolute, const at::Tensor& square_w,
                           const at::Tensor& square_b) {
  OpsFor(g.device()).squared_linear_gradient(g, x, cu_rows, weight, absolute, square_w, square_b);
}

void SquaredLayerNormGradient(const at::Tensor& g, const at::Tensor& normalized, std::span<const int32_t> cu_rows,
                              std::span<const float> weight, bool absolute, const at::Tensor& square_gamma,
                              const at::Tensor& square_beta) {
  OpsFor(g.device())
      .squared_layer_norm_gradient(g, normalized, cu_rows, weight, absolute, square_gamma,
                                   square_beta.defined() ? square_beta : at::zeros_like(square_gamma));
}

void SquaredEmbeddingGradient(const at::Tensor& g, const at::Tensor& index, std::span<const int32_t> cu_rows,
                              std::span<const float> weight, bool absolute, const at::Tensor& square_table) {
  OpsFor(g.device()).squared_embedding_gradient(g, index, cu_rows, weight, absolute, square_table);
}

}  // namespace engram::nn::ops
