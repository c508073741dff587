#pragma once

// One layer of an encoder: attention and feed-forward, each with a norm and a residual sum (checkpoint::BlockSpec).

#include "core/nn/layers/attention_layer.h"
#include "core/nn/layers/feed_forward_layer.h"
#include "core/nn/layers/norm_layer.h"

namespace engram::nn {

class Block {
 public:
  struct Tape {
    AttentionLayer::Tape attention;
    FeedForwardLayer::Tape feed_forward;
    ops::LayerNormResult attention_norm, output_norm;
  };

  Block(const EncoderConfig& config, size_t layer);
  // Takes a tensor of this layer.
  void Append(const checkpoint::ExpectedTensor& tensor, SlotId slot);
  void Pack(const ParameterBuffer& parameters);
  void Unpack();

  // x [T, hidden] -> [T, hidden]. `tape` is filled where the pass keeps.
  at::Tensor Forward(const at::Tensor& x, const ForwardPass& pass, Tape* tape) const;
  at::Tensor Backward(at::Tensor g, Tape kept, const BackwardPass& pass) const;

  // What Forward does before and behind attention itself, where nothing is kept; x are the same rows in both. Each row
  // stands for itself (AttentionLayer::Project).
  at::Tensor Project(const at::Tensor& x, const ForwardPass& pass) const;
  at::Tensor BehindAttention(const at::Tensor& x, const at::Tensor& attended, const ForwardPass& pass) const;
  const ops::AttentionShape& attention_shape() const { return attention_.shape(); }

 private:
  // What attention reads: x, or its norm.
  at::Tensor AttentionInput(const at::Tensor& x, const ForwardPass& pass, Tape* tape) const;
  // From attention's projected output on.
  at::Tensor Rest(const at::Tensor& x, const at::Tensor& projected, const ForwardPass& pass, Tape* tape) const;
  at::Tensor PostNormRest(const at::Tensor& x, const at::Tensor& projected, const ForwardPass& pass, Tape* tape) const;
  at::Tensor PreNormRest(const at::Tensor& x, const at::Tensor& projected, const ForwardPass& pass, Tape* tape) const;
  at::Tensor PostNormBackward(at::Tensor g, Tape kept, const BackwardPass& pass) const;
  at::Tensor PreNormBackward(at::Tensor g, Tape kept, const BackwardPass& pass) const;
  ops::Dropout AfterAttention(const std::optional<TrainingMode>& mode) const;
  ops::Dropout AfterFeedForward(const std::optional<TrainingMode>& mode) const;

  size_t layer_;
  bool pre_norm_;
  double attention_dropout_, output_dropout_;  // before the residual sums
  AttentionLayer attention_;
  FeedForwardLayer feed_forward_;
  NormLayer attention_norm_, output_norm_;  // attention_norm_ may not exist where it stands before attention
};

}  // namespace engram::nn
