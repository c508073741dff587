#include "core/nn/layers/block.h"

#include <utility>

#include "ATen/TensorOperators.h"

namespace engram::nn {

Block::Block(const EncoderConfig& config, size_t layer)
    : layer_(layer),
      pre_norm_(config.family->block.pre_norm),
      attention_dropout_(config.family->dropout_after_attention ? config.hidden_dropout : 0),
      output_dropout_(config.hidden_dropout),
      attention_(config, layer),
      feed_forward_(config, layer),
      attention_norm_(config.family->block.norm, config.layer_norm_eps),
      output_norm_(config.family->block.norm, config.layer_norm_eps) {}

void Block::Append(const checkpoint::ExpectedTensor& tensor, SlotId slot) {
  if (attention_.Append(tensor, slot) || feed_forward_.Append(tensor, slot)) return;
  (tensor.role == checkpoint::TensorRole::kAttentionNorm ? attention_norm_ : output_norm_).Append(tensor, slot);
}

void Block::Pack(const ParameterBuffer& parameters) {
  attention_.Pack(parameters);
  feed_forward_.Pack(parameters);
}

void Block::Unpack() {
  attention_.Unpack();
  feed_forward_.Unpack();
}

ops::Dropout Block::AfterAttention(const std::optional<TrainingMode>& mode) const {
  return DropoutAt(mode, attention_dropout_, static_cast<uint32_t>(3 * layer_ + 2));
}
ops::Dropout Block::AfterFeedForward(const std::optional<TrainingMode>& mode) const {
  return DropoutAt(mode, output_dropout_, static_cast<uint32_t>(3 * layer_ + 3));
}

at::Tensor Block::Forward(const at::Tensor& x, const ForwardPass& pass, Tape* tape) const {
  const at::Tensor projected =
      attention_.Forward(AttentionInput(x, pass, tape), pass, pass.keep ? &tape->attention : nullptr);
  return Rest(x, projected, pass, tape);
}

at::Tensor Block::Project(const at::Tensor& x, const ForwardPass& pass) const {
  return attention_.Project(AttentionInput(x, pass, nullptr), pass, nullptr);
}

at::Tensor Block::BehindAttention(const at::Tensor& x, const at::Tensor& attended, const ForwardPass& pass) const {
  return Rest(x, attention_.Output(attended, pass), pass, nullptr);
}

at::Tensor Block::AttentionInput(const at::Tensor& x, const ForwardPass& pass, Tape* tape) const {
  if (!pre_norm_ || !attention_norm_.exists()) return x;
  ops::LayerNormResult norm = attention_norm_.Forward(x, at::Tensor(), {}, pass);
  at::Tensor y = Take(norm.y);
  if (pass.keep) tape->attention_norm = std::move(norm);
  return y;
}

at::Tensor Block::Rest(const at::Tensor& x, const at::Tensor& projected, const ForwardPass& pass, Tape* tape) const {
  return pre_norm_ ? PreNormRest(x, projected, pass, tape) : PostNormRest(x, projected, pass, tape);
}

// The peak of a training step's memory lies in the backward pass: what nothing below needs is let go at once.
at::Tensor Block::Backward(at::Tensor g, Tape kept, const BackwardPass& pass) const {
  return pre_norm_ ? PreNormBackward(std::move(g), std::move(kept), pass)
                   : PostNormBackward(std::move(g), std::move(kept), pass);
}

at::Tensor Block::PostNormRest(const at::Tensor& x, const at::Tensor& projected, const ForwardPass& pass,
                               Tape* tape) const {
  ops::LayerNormResult attended = attention_norm_.Forward(projected, x, AfterAttention(pass.mode), pass);
  const at::Tensor out = feed_forward_.Forward(attended.y, pass, pass.keep ? &tape->feed_forward : nullptr);
  ops::LayerNormResult result = output_norm_.Forward(out, attended.y, AfterFeedForward(pass.mode), pass);
  at::Tensor y = Take(result.y);
  if (pass.keep) {
    attended.y.reset();
    tape->attention_norm = std::move(attended);
    tape->output_norm = std::move(result);
  }
  return y;
}

at::Tensor Block::PostNormBackward(at::Tensor g, Tape kept, const BackwardPass& pass) const {
  auto after_output = output_norm_.Backward(std::move(g), kept.output_norm, AfterFeedForward(pass.mode), pass);
  kept.output_norm = {};
  at::Tensor grad_attended = feed_forward_.Backward(Take(after_output.x), std::move(kept.feed_forward), pass)
                                 .add_(Take(after_output.residual));
  auto after_attention =
      attention_norm_.Backward(Take(grad_attended), kept.attention_norm, AfterAttention(pass.mode), pass);
  kept.attention_norm = {};
  return attention_.Backward(Take(after_attention.x), std::move(kept.attention), pass).add_(after_attention.residual);
}

at::Tensor Block::PreNormRest(const at::Tensor& x, const at::Tensor& projected, const ForwardPass& pass,
                              Tape* tape) const {
  const at::Tensor attended = ops::ApplyDropout(projected, AfterAttention(pass.mode)) + x;
  ops::LayerNormResult second = output_norm_.Forward(attended, at::Tensor(), {}, pass);
  const at::Tensor out = feed_forward_.Forward(Take(second.y), pass, pass.keep ? &tape->feed_forward : nullptr);
  if (pass.keep) tape->output_norm = std::move(second);
  return ops::ApplyDropout(out, AfterFeedForward(pass.mode)) + attended;
}

at::Tensor Block::PreNormBackward(at::Tensor g, Tape kept, const BackwardPass& pass) const {
  at::Tensor grad_norm =
      feed_forward_.Backward(ops::ApplyDropout(g, AfterFeedForward(pass.mode)), std::move(kept.feed_forward), pass);
  at::Tensor grad_attended = output_norm_.Backward(Take(grad_norm), kept.output_norm, {}, pass).residual.add_(g);
  g.reset();
  kept.output_norm = {};
  at::Tensor grad_input =
      attention_.Backward(ops::ApplyDropout(grad_attended, AfterAttention(pass.mode)), std::move(kept.attention), pass);
  if (attention_norm_.exists())
    grad_input = attention_norm_.Backward(Take(grad_input), kept.attention_norm, {}, pass).residual;
  return grad_input.add_(grad_attended);
}

}  // namespace engram::nn
