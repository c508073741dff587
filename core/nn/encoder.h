#pragma once

// The encoder on packed rows: embeddings, then post-LayerNorm transformer layers. Written once for all families, which
// differ in the names of their tensors, where positions begin, token types and one dropout (checkpoint::FamilySpec).

#include <optional>
#include <vector>

#include "core/checkpoint/tensor_names.h"
#include "core/nn/encoder_config.h"
#include "core/nn/gradient_sink.h"
#include "core/nn/packed_batch.h"
#include "core/nn/parameter_buffer.h"

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

  // Appends the encoder's parameters (checkpoint::EncoderTensors, in that order) to `parameters`, which must outlive the
  // encoder and be empty.
  static absl::StatusOr<Encoder> Create(const EncoderConfig& config, ParameterBuffer* parameters);

  // Without a tape, a batch on the CPU is cut into one part for each thread: each thread takes its sequences through
  // all layers, and none waits for another between operations.
  at::Tensor Forward(const PackedBatch& batch, const std::optional<TrainingMode>& mode, TapeState* tape) const;
  // `gradient`: of the hidden states, [T, d]. A tape that is moved in is given back layer by layer.
  void Backward(at::Tensor gradient, TapeState tape, GradientSink& sink) const;

  // Keeps a copy of the layers' weight matrices in the layout that this processor multiplies with fastest, which
  // Forward uses where it keeps no tape. The weights must not change afterwards. CPU only: a no-op elsewhere.
  void PackForInference();

  // For a copy of an encoder: computes with the same slots of another buffer from now on.
  void Rebind(ParameterBuffer* parameters);

  const std::vector<SlotId>& slots() const { return slots_; }
  SlotId word_embeddings() const { return word_; }
  LinearSlots pooler() const { return pooler_; }

 private:
  // Undefined tensors: not packed.
  struct PackedWeights {
    at::Tensor qkv, attention_output, intermediate, output;
  };
  struct Layer {
    SlotId qkv_weight = -1, qkv_bias = -1;  // first of three adjacent slots each
    LinearSlots attention_output;
    NormSlots attention_norm;
    LinearSlots intermediate, output;
    NormSlots output_norm;
    PackedWeights packed;
  };

  Encoder(const EncoderConfig& config, ParameterBuffer* parameters) : config_(config), parameters_(parameters) {}
  // Remembers what the tensor in `slot` is for.
  void Place(const checkpoint::ExpectedTensor& tensor, SlotId slot);
  at::Tensor ForwardWhole(const PackedBatch& batch, const std::optional<TrainingMode>& mode, TapeState* tape) const;
  at::Tensor ForwardInParts(const PackedBatch& batch, const std::vector<int64_t>& cuts) const;
  // Sequences [begin, end), group by group, into their rows of `hidden`.
  void ForwardGroups(const PackedBatch& batch, int64_t begin, int64_t end, const at::Tensor& hidden) const;
  at::Tensor LayerForward(size_t index, const at::Tensor& x, const PackedBatch& batch,
                          const std::optional<TrainingMode>& mode, LayerTape* tape) const;
  at::Tensor LayerBackward(size_t index, at::Tensor gradient, LayerTape kept, const TapeState& tape,
                           GradientSink& sink) const;
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
