#pragma once

// The encoder on packed rows: embeddings, blocks, and where the family has one a last norm (core/nn/layers). Written once
// for all families, which differ in values (checkpoint::FamilySpec). Here lie the order, the threads and the passes with
// a task's blocks.

#include <optional>
#include <span>
#include <vector>

#include "core/checkpoint/tensor_names.h"
#include "core/nn/encoder_config.h"
#include "core/nn/gradient_sink.h"
#include "core/nn/layers/block.h"
#include "core/nn/layers/embedding_layer.h"
#include "core/nn/layers/pass.h"
#include "core/nn/layers/positions.h"
#include "core/nn/layers/relative_positions.h"
#include "core/nn/packed_batch.h"
#include "core/nn/parameter_buffer.h"
#include "core/nn/task_blocks.h"

namespace engram::nn {

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
  struct TapeState {
    std::optional<TrainingMode> mode;
    PackedBatch batch;
    std::optional<Rotations> rotations;
    EmbeddingLayer::Tape embedding;
    std::vector<Block::Tape> layers;
    NormLayer::Tape final_norm;
    const TaskBlocks* blocks = nullptr;  // the pass was one with blocks, which must stay where they are
    std::vector<BlockSiteTape> block_sites;
    at::Tensor by_distance;  // undefined: the family has no such table
  };
  // Blocks of the task that is asked, after the columns that they read, all in their order; empty: the encoder alone.
  using Columns = std::span<const TaskBlocks* const>;

  // Appends the encoder's parameters (checkpoint::EncoderTensors, in that order) to `parameters`, which must outlive the
  // encoder and be empty.
  static absl::StatusOr<Encoder> Create(const EncoderConfig& config, ParameterBuffer* parameters);

  // Without a tape, a batch on the CPU is cut into one part for each thread: each thread takes its sequences through
  // all layers, and none waits for another between operations.
  at::Tensor Forward(const PackedBatch& batch, const std::optional<TrainingMode>& mode, TapeState* tape,
                     Columns columns = {}) const;
  // `gradient`: of the hidden states, [T, d]. A tape that is moved in is given back layer by layer.
  void Backward(at::Tensor gradient, TapeState tape, GradientSink& sink) const;

  // Keeps a copy of the layers' weight matrices in the layout that this processor multiplies with fastest, which
  // Forward uses where it keeps no tape. The weights must not change afterwards. CPU only: a no-op elsewhere.
  void PackForInference();

  // For a copy of an encoder: computes with the same slots of another buffer from now on.
  void Rebind(ParameterBuffer* parameters);

  const std::vector<SlotId>& slots() const { return slots_; }
  SlotId word_embeddings() const { return embedding_.word(); }
  LinearSlots pooler() const { return pooler_; }

 private:
  Encoder(const EncoderConfig& config, ParameterBuffer* parameters);
  // Gives the tensor in `slot` to the layer that it is for.
  void Append(const checkpoint::ExpectedTensor& tensor, SlotId slot);
  at::Tensor ForwardWhole(const PackedBatch& batch, const std::optional<TrainingMode>& mode, TapeState* tape,
                          Columns columns) const;
  at::Tensor ForwardLayers(const PackedBatch& batch, const std::optional<TrainingMode>& mode, TapeState* tape,
                           const BlockPass* pass) const;
  at::Tensor ForwardInParts(const PackedBatch& batch, const std::vector<int64_t>& cuts, Columns columns) const;
  // Sequences [begin, end), group by group, into their rows of `hidden`.
  void ForwardGroups(const PackedBatch& batch, int64_t begin, int64_t end, Columns columns,
                     const at::Tensor& hidden) const;

  EncoderConfig config_;
  ParameterBuffer* parameters_;
  std::vector<SlotId> slots_;
  EmbeddingLayer embedding_;
  RelativePositions relative_;  // may not exist
  std::vector<Block> layers_;
  NormLayer final_norm_;  // may not exist
  LinearSlots pooler_;
};

}  // namespace engram::nn
