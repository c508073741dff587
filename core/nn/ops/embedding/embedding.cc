#include "core/nn/ops/embedding/embedding.h"

#include "core/nn/ops/op_table.h"

namespace engram::nn::ops {

at::Tensor EmbeddingSum(const PackedBatch& batch, const at::Tensor& word, const at::Tensor& type,
                        const at::Tensor& position, int64_t first_position) {
  return OpsFor(word.device()).embedding_sum(batch, word, type, position, first_position);
}

void EmbeddingWeightGradient(const at::Tensor& g, const at::Tensor& index, const at::Tensor& grad_table) {
  OpsFor(g.device()).embedding_weight_gradient(g, index, grad_table);
}

}  // namespace engram::nn::ops
