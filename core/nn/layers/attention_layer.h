#pragma once

// Attention with the linear layers before and behind it: heads, heads of keys that groups share, a window, causal or not,
// rotary positions, a norm of each query and key are numbers here.

#include "core/checkpoint/tensor_names.h"
#include "core/nn/layers/linear_layer.h"
#include "core/nn/layers/norm_layer.h"
#include "core/nn/ops/attention/attention.h"

namespace engram::nn {

class AttentionLayer {
 public:
  struct Tape {
    at::Tensor input, qkv;
    ops::AttentionResult attention;
    ops::LayerNormResult query_norm, key_norm;  // of each head of each token
  };

  AttentionLayer() = default;
  // Layer number `layer` of an encoder.
  AttentionLayer(const EncoderConfig& config, size_t layer);
  // Whether the tensor is one of this layer's, which it takes then.
  bool Append(const checkpoint::ExpectedTensor& tensor, SlotId slot);
  void Pack(const ParameterBuffer& parameters);
  void Unpack();

  // x [T, hidden] -> [T, hidden], before dropout and the residual sum. `tape` is filled where the pass keeps.
  at::Tensor Forward(const at::Tensor& x, const ForwardPass& pass, Tape* tape) const;
  at::Tensor Backward(at::Tensor g, Tape kept, const BackwardPass& pass) const;

  // What Forward does before and behind attention itself. Each row stands for itself: who reads a long text in runs of
  // rows calls them with a pass whose rotations are those of the run.
  // x [n, hidden] -> query, key and value [n, shape().qkv_width()], normed and turned.
  at::Tensor Project(const at::Tensor& x, const ForwardPass& pass, Tape* tape) const;
  // attended [n, shape().out_width()] -> [n, hidden].
  at::Tensor Output(const at::Tensor& attended, const ForwardPass& pass) const;
  const ops::AttentionShape& shape() const { return shape_; }

 private:
  uint32_t dropout_site() const { return static_cast<uint32_t>(3 * layer_ + 1); }
  // One of the norms over the heads from column `first` on, in place.
  ops::LayerNormResult NormHeads(const NormLayer& norm, at::Tensor& qkv, int64_t first, int64_t heads,
                                 const ForwardPass& pass) const;
  // The gradient of qkv, whose values are let go of.
  at::Tensor AttentionGradient(const at::Tensor& g, Tape& kept, const BackwardPass& pass) const;
  void NormHeadsBackward(const NormLayer& norm, at::Tensor& grad_qkv, int64_t first, int64_t heads,
                         const ops::LayerNormResult& kept, const BackwardPass& pass) const;

  size_t layer_ = 0;
  ops::AttentionShape shape_;
  double dropout_ = 0;
  size_t rope_ = 0;
  LinearLayer input_, output_;
  NormLayer query_norm_, key_norm_;
};

}  // namespace engram::nn
