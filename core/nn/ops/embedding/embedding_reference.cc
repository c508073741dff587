#include "ATen/TensorOperators.h"
#include "ATen/ops/index_select.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::reference {
namespace {

at::Tensor EmbeddingSum(const PackedBatch& batch, const at::Tensor& word, const at::Tensor& type,
                        const at::Tensor& position, int64_t first_position) {
  at::Tensor sum = at::index_select(word, 0, batch.ids).to(at::kFloat);
  if (position.defined()) sum = sum + at::index_select(position, 0, batch.positions + first_position).to(at::kFloat);
  if (type.defined()) sum = sum + at::index_select(type, 0, batch.type_ids).to(at::kFloat);
  return sum.to(word.scalar_type());
}

void EmbeddingWeightGradient(const at::Tensor& g, const at::Tensor& index, const at::Tensor& grad_table) {
  grad_table.index_add_(0, index, g.to(at::kFloat));
}

}  // namespace

void SetEmbedding(OpTable& table) {
  table.embedding_sum = EmbeddingSum;
  table.embedding_weight_gradient = EmbeddingWeightGradient;
}

}  // namespace engram::nn::ops::reference
