#pragma once

// Every head is one chain, of which each lacks some links:
//
//   rows of hidden -> dropout -> dense + activation -> LayerNorm -> dropout -> output layer -> logits
//
// The rows are those of the first or the last token, the mean of the tokens, all tokens, or chosen ones; they follow from
// the task's kind and pooling. The other links are the family's (checkpoint::HeadSpec):
//
//   head                  rows    dropout  dense + activation     LayerNorm  dropout  output layer
//   BERT sequence         first   -        pooler, tanh           -          yes      classifier
//   RoBERTa sequence      first   yes      dense, tanh            -          yes      out_proj
//   DistilBERT sequence   first   -        pre_classifier, ReLU   -          yes      classifier
//   ModernBERT sequence   first or mean    dense, GELU            yes        yes      classifier
//   Llama sequence        last    -        -                      -          -        score
//   mean-pooled           mean    -        -                      -          yes      classifier
//   mean-pooled, expanded mean    -        fixed expansion        -          yes      classifier, in fp32
//   token classification  all     -        -                      -          yes      classifier
//   masked LM             chosen  -        dense, the encoder's   yes        -        word embeddings, own bias

#include <optional>
#include <string>
#include <vector>

#include "core/nn/encoder.h"
#include "core/nn/fixed_expansion.h"
#include "core/nn/ops/activation/activation.h"
#include "core/nn/ops/layer_norm/layer_norm.h"

namespace engram::nn {

class HeadChain {
 public:
  struct TapeState {
    std::optional<TrainingMode> mode;
    PackedBatch batch;
    at::Tensor rows;  // masked LM: the chosen tokens
    std::vector<int32_t> host_cu_rows;
    at::Tensor cu_rows;
    at::Tensor dense_input, pre_activation, output_input;
    ops::LayerNormResult norm;
    FixedExpansion::TapeState expansion;
    int64_t hidden_width = 0;
  };

  // Appends the head's own parameters under "heads.<task>." and draws them as transformers does: weights N(0,
  // initializer_range), biases 0, LayerNorm 1 and 0.
  // INVALID_ARGUMENT for a kind of head that the family's models have not; FAILED_PRECONDITION for a head on a pooler that the encoder does not have; INVALID_ARGUMENT for an expansion that
  // this head cannot have.
  static absl::StatusOr<HeadChain> Create(const std::string& task, const HeadConfig& head, const EncoderConfig& config,
                                          const Encoder& encoder, ParameterBuffer* parameters, uint64_t seed);

  at::Tensor Forward(const at::Tensor& hidden, const PackedBatch& batch, const at::Tensor& rows,
                     const std::optional<TrainingMode>& mode, TapeState* tape) const;
  // Returns the gradient of the hidden states, [T, d].
  at::Tensor Backward(const at::Tensor& grad_logits, const TapeState& tape, GradientSink& sink) const;

  // For a copy of a head: computes with the same slots of another buffer from now on.
  void Rebind(ParameterBuffer* parameters) { parameters_ = parameters; }

  const std::vector<SlotId>& slots() const { return slots_; }

 private:
  enum class RowChoice { kFirst, kMean, kLast, kAll, kChosen };

  HeadChain(ParameterBuffer* parameters, const EncoderConfig& config) : parameters_(parameters), config_(config) {}
  static RowChoice RowsOf(const HeadConfig& head, checkpoint::SequenceRows standard);
  double DropoutOf(checkpoint::DropoutSource source) const;
  // Remembers what the head's own tensor in `slot` is for.
  void Place(const checkpoint::ExpectedTensor& tensor, SlotId slot);
  // The output layer's weight or bias as it is multiplied with: what is solved in closed form stands in fp32.
  at::Tensor Output(SlotId slot) const { return expansion_ ? parameters_->Weight(slot) : Compute(slot); }
  // Undefined for -1: the layer has no bias.
  at::Tensor Compute(SlotId slot) const { return slot >= 0 ? parameters_->Compute(slot) : at::Tensor(); }
  at::Tensor SelectRows(const at::Tensor& hidden, const PackedBatch& batch, const at::Tensor& rows) const;
  at::Tensor SelectRowsGradient(const at::Tensor& g, const TapeState& tape) const;
  void SetRowOwners(const PackedBatch& batch, const at::Tensor& rows, TapeState& tape) const;

  ParameterBuffer* parameters_;
  EncoderConfig config_;
  RowChoice choice_ = RowChoice::kAll;
  double dropout_before_dense_ = 0, dropout_before_output_ = 0;
  Activation activation_ = Activation::kTanh;
  LinearSlots dense_;  // weight -1: no such link
  NormSlots norm_;     // gamma -1: no such link
  std::optional<FixedExpansion> expansion_;
  LinearSlots output_;  // the weight may be the word embeddings
  bool tied_ = false;
  std::vector<SlotId> slots_;  // the head's own
};

}  // namespace engram::nn
