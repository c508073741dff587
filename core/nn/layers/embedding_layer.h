#pragma once

// Word, position and type embeddings, summed, normalised and dropped out.

#include "core/checkpoint/tensor_names.h"
#include "core/nn/layers/norm_layer.h"
#include "core/nn/layers/pass.h"

namespace engram::nn {

class EmbeddingLayer {
 public:
  using Tape = ops::LayerNormResult;

  EmbeddingLayer() = default;
  explicit EmbeddingLayer(const EncoderConfig& config);
  // Whether the tensor is one of this layer's, which it takes then.
  bool Append(const checkpoint::ExpectedTensor& tensor, SlotId slot);

  // -> [T, hidden]. `tape` is filled where the pass keeps.
  at::Tensor Forward(const ForwardPass& pass, Tape* tape) const;
  void Backward(at::Tensor g, const Tape& kept, const BackwardPass& pass) const;
  // Rows [begin, begin + count) of a batch of one sequence, where nothing is kept: the bits that Forward gives them.
  at::Tensor ForwardRows(const ForwardPass& pass, int64_t begin, int64_t count) const;

  SlotId word() const { return word_; }

 private:
  at::Tensor Sum(const ForwardPass& pass) const;
  // Of table rows; undefined: the table is none.
  at::Tensor Table(SlotId slot, const ParameterBuffer& parameters) const;
  void PositionGradient(const at::Tensor& g, const BackwardPass& pass) const;

  double dropout_ = 0;
  int64_t first_position_ = 0;
  SlotId word_ = -1, position_ = -1, type_ = -1;
  NormLayer norm_;  // may not exist
};

}  // namespace engram::nn
