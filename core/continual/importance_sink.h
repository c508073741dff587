#pragma once

// The gradient sink that forms squared (or absolute) per-sequence gradients instead of summed ones. One backward pass
// over a packed batch of n sequences adds  weight[i] * (gradient of sequence i)^2  for every i to a flat fp32 tensor,
// exactly as n passes over one sequence each would (formulas in docs/ewc.md).

#include <span>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/nn/gradient_sink.h"
#include "core/nn/parameter_buffer.h"

namespace engram::continual {

// Not thread-safe. The buffer and the tensor must outlive the sink.
class ImportanceSink final : public nn::GradientSink {
 public:
  // `importance` fp32 [covered]: importance of the first `covered` elements of the parameter buffer (the encoder);
  // gradients of slots behind them (heads) are dropped. `shared_slots`: slots that one sequence uses more than once
  // (tied embeddings): their uses are summed per sequence before they are squared, in EndBatch.
  ImportanceSink(const nn::ParameterBuffer& parameters, at::Tensor importance, std::vector<nn::SlotId> shared_slots,
                 bool absolute);

  // One weight for each sequence of the batch that follows; to be set before Backward.
  void SetWeights(std::vector<float> weights) { weights_ = std::move(weights); }

  void Linear(nn::SlotId weight, nn::SlotId bias, int count, const at::Tensor& a, const at::Tensor& g,
              const nn::RowOwners& rows) override;
  void LayerNorm(nn::SlotId gamma, nn::SlotId beta, const at::Tensor& normalized, const at::Tensor& g,
                 const nn::RowOwners& rows) override;
  void Embedding(nn::SlotId table, const at::Tensor& index, const at::Tensor& g, const nn::RowOwners& rows) override;
  void Bias(nn::SlotId bias, const at::Tensor& g, const nn::RowOwners& rows) override;
  void EndBatch() override;

 private:
  // One use of a shared slot: as the weight of a linear layer (index undefined) or as an embedding table.
  struct SharedUse {
    nn::SlotId slot;
    at::Tensor a, index, g;
    std::vector<int32_t> cu_rows;
  };

  bool Covered(nn::SlotId slot) const;
  bool Shared(nn::SlotId slot) const;
  // The part of importance_ that belongs to `count` adjacent slots, as one matrix or vector.
  at::Tensor View(nn::SlotId first, int count) const;

  const nn::ParameterBuffer& parameters_;
  at::Tensor importance_;
  std::vector<nn::SlotId> shared_slots_;
  bool absolute_;
  std::vector<float> weights_;
  std::vector<SharedUse> shared_uses_;
};

}  // namespace engram::continual
