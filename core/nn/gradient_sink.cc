#include "core/nn/gradient_sink.h"

#include "core/nn/ops/embedding/embedding.h"
#include "core/nn/ops/layer_norm/layer_norm.h"
#include "core/nn/ops/linear/linear.h"

namespace engram::nn {

void AccumulateSink::Linear(SlotId weight, SlotId bias, int count, const at::Tensor& a, const at::Tensor& g,
                            const RowOwners&) {
  ops::LinearWeightGradient(g, a, gradients_->Stacked(weight, count),
                            bias >= 0 ? gradients_->Stacked(bias, count) : at::Tensor());
}

void AccumulateSink::LayerNorm(SlotId gamma, SlotId beta, const at::Tensor& normalized, const at::Tensor& g,
                               const RowOwners&) {
  ops::LayerNormWeightGradient(g, normalized, gradients_->Of(gamma), beta >= 0 ? gradients_->Of(beta) : at::Tensor());
}

void AccumulateSink::Embedding(SlotId table, const at::Tensor& index, const at::Tensor& g, const RowOwners&) {
  ops::EmbeddingWeightGradient(g, index, gradients_->Of(table));
}

void AccumulateSink::Bias(SlotId bias, const at::Tensor& g, const RowOwners&) {
  ops::LinearWeightGradient(g, at::Tensor(), at::Tensor(), gradients_->Of(bias));
}

}  // namespace engram::nn
