#include "core/nn/gradient_sink.h"

#include "core/nn/ops.h"

namespace engram::nn {

void AccumulateSink::Linear(SlotId weight, SlotId bias, int count, const at::Tensor& a, const at::Tensor& g,
                            const RowOwners&) {
  ops::LinearWeightGradient(g, a, parameters_->GradientStacked(weight, count),
                            bias >= 0 ? parameters_->GradientStacked(bias, count) : at::Tensor());
}

void AccumulateSink::LayerNorm(SlotId gamma, SlotId beta, const at::Tensor& normalized, const at::Tensor& g,
                               const RowOwners&) {
  ops::LayerNormWeightGradient(g, normalized, parameters_->Gradient(gamma), parameters_->Gradient(beta));
}

void AccumulateSink::Embedding(SlotId table, const at::Tensor& index, const at::Tensor& g, const RowOwners&) {
  ops::EmbeddingWeightGradient(g, index, parameters_->Gradient(table));
}

void AccumulateSink::Bias(SlotId bias, const at::Tensor& g, const RowOwners&) {
  ops::LinearWeightGradient(g, at::Tensor(), at::Tensor(), parameters_->Gradient(bias));
}

}  // namespace engram::nn
