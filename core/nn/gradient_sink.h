#pragma once

// Where a backward pass leaves its parameter gradients. Layers do not compute weight gradients themselves: they hand
// over what the gradient is made of (the layer's input and the gradient of its output), and the sink decides what to
// form:
//   AccumulateSink (here)            grad += g^T a                 training
//   importance engine (continual)    F    += (g_n^T a_n)^2 per n   Fisher, MAS
// This is why exact per-sequence Fisher costs about one ordinary backward pass.

#include <span>

#include "ATen/core/Tensor.h"
#include "core/nn/packed_batch.h"
#include "core/nn/parameter_buffer.h"

namespace engram::nn {

// Which sequence each row of (input, grad) belongs to. Encoder layers pass the batch's own cu_seqlens; a head that has
// one row per sequence passes {0, 1, ..., n}; a masked-LM head that scores some tokens passes offsets of its own rows.
struct RowOwners {
  at::Tensor cu_rows;                     // int32 [n+1], device
  std::span<const int32_t> host_cu_rows;  // the same
};

// Called during a backward pass, from one thread, in the order of the pass. Tensors are the caller's: a sink that keeps
// one past the call keeps a reference-counted handle. Gradients are of the SUM over the batch of whatever the caller
// put in as loss.
class GradientSink {
 public:
  virtual ~GradientSink() = default;
  // y = a W^T + b.  a [R, in], g [R, out] (compute dtype). `count` adjacent weight slots stacked ([out, in] in all),
  // likewise biases; bias = -1: the layer has none.
  virtual void Linear(SlotId weight, SlotId bias, int count, const at::Tensor& a, const at::Tensor& g,
                      const RowOwners& rows) = 0;
  // y = normalized * gamma + beta.  normalized [R, d], g [R, d]. beta = -1: the norm has none.
  virtual void LayerNorm(SlotId gamma, SlotId beta, const at::Tensor& normalized, const at::Tensor& g,
                         const RowOwners& rows) = 0;
  // y = table[index].  index int32 [R], g [R, d].
  virtual void Embedding(SlotId table, const at::Tensor& index, const at::Tensor& g, const RowOwners& rows) = 0;
  // y = x + b, for a bias that belongs to no linear layer (the masked-LM decoder's).  g [R, d].
  virtual void Bias(SlotId bias, const at::Tensor& g, const RowOwners& rows) = 0;
  // The backward pass of this batch is over. A sink that must combine several uses of one slot in one sequence (tied
  // weights, before squaring) does it here.
  virtual void EndBatch() {}
};

// Adds gradients into a GradientBuffer, which must outlive the sink.
class AccumulateSink final : public GradientSink {
 public:
  explicit AccumulateSink(GradientBuffer* gradients) : gradients_(gradients) {}
  // Into the parameters' own gradients; EnableGradients must have been called.
  explicit AccumulateSink(ParameterBuffer* parameters) : AccumulateSink(parameters->gradient_buffer()) {}
  void Linear(SlotId weight, SlotId bias, int count, const at::Tensor& a, const at::Tensor& g,
              const RowOwners& rows) override;
  void LayerNorm(SlotId gamma, SlotId beta, const at::Tensor& normalized, const at::Tensor& g,
                 const RowOwners& rows) override;
  void Embedding(SlotId table, const at::Tensor& index, const at::Tensor& g, const RowOwners& rows) override;
  void Bias(SlotId bias, const at::Tensor& g, const RowOwners& rows) override;

 private:
  GradientBuffer* gradients_;  // not owned
};

}  // namespace engram::nn
