#pragma once

// The encoder of the BERT family on packed rows: embeddings, then post-LayerNorm transformer layers. Written once for
// BERT, RoBERTa and DistilBERT, which differ in names, position offset, token types and one dropout.

#include <optional>
#include <vector>

#include "core/nn/model.h"

namespace engram::nn {

// Dropout number `site` of the network under `mode`; inactive in evaluation.
ops::Dropout DropoutAt(const std::optional<TrainingMode>& mode, double probability, uint32_t site);
inline constexpr uint32_t kHeadDropoutSite = 0xFF00;

// A bias follows its weight in the buffer for layers that are not stacked.
struct LinearSlots {
  SlotId weight = -1, bias = -1;
};
struct NormSlots {
  SlotId gamma = -1, beta = -1;
};

class Encoder {
 public:
  struct LayerTape {
    at::Tensor input, qkv;
    ops::AttentionResult attention;
    ops::LayerNormResult attention_norm;
    at::Tensor pre_activation, activated;
    ops::LayerNormResult output_norm;
  };
  struct TapeState {
    std::optional<TrainingMode> mode;
    PackedBatch batch;
    ops::LayerNormResult embedding_norm;
    std::vector<LayerTape> layers;
  };

  // Appends the encoder's parameters to `parameters`, which must outlive the encoder and be empty.
  static absl::StatusOr<Encoder> Create(const EncoderConfig& config, ParameterBuffer* parameters);

  at::Tensor Forward(const PackedBatch& batch, const std::optional<TrainingMode>& mode, TapeState* tape) const;
  // `gradient`: of the hidden states, [T, d].
  void Backward(at::Tensor gradient, const TapeState& tape, GradientSink& sink) const;

  const std::vector<SlotId>& slots() const { return slots_; }
  SlotId word_embeddings() const { return word_; }
  LinearSlots pooler() const { return pooler_; }

 private:
  struct Layer {
    SlotId qkv_weight, qkv_bias;  // first of three adjacent slots each
    LinearSlots attention_output;
    NormSlots attention_norm;
    LinearSlots intermediate, output;
    NormSlots output_norm;
  };

  Encoder(const EncoderConfig& config, ParameterBuffer* parameters) : config_(config), parameters_(parameters) {}
  at::Tensor LayerForward(size_t index, const at::Tensor& x, const PackedBatch& batch,
                          const std::optional<TrainingMode>& mode, LayerTape* tape) const;
  at::Tensor LayerBackward(size_t index, const at::Tensor& gradient, const TapeState& tape, GradientSink& sink) const;
  double AttentionOutputDropout() const;

  EncoderConfig config_;
  ParameterBuffer* parameters_;
  std::vector<SlotId> slots_;
  SlotId word_ = -1, position_ = -1, type_ = -1;
  NormSlots embedding_norm_;
  std::vector<Layer> layers_;
  LinearSlots pooler_;
};

}  // namespace engram::nn
