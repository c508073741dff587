#pragma once

// One sequence of any length through the encoder in bounded memory: layer by layer through the layers that every pass
// goes through (core/nn/layers), linear layers and norms in runs of rows, attention in runs of queries. No scores, no mask
// of the whole text, nothing kept of a layer once the next one begins. At the peak there are the rows of the hidden state
// and of query, key and value of one layer, and a few runs of rows (stream_cost.h).
//
// What it computes is Model::Encode of one sequence, and if asked for with a window: token i sees the tokens j with
// |i - j| <= window, of those that its layer lets it see.

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/longcontext/stream_cost.h"
#include "core/nn/layers/block.h"
#include "core/nn/layers/embedding_layer.h"
#include "core/nn/layers/relative_positions.h"
#include "core/nn/model.h"

namespace engram::longcontext {

struct StreamOptions {
  int64_t window = 0;  // tokens that a token sees on each side; 0: as its layer says
  nn::PositionPlan positions = {};
  // Called several times a second with (tokens times layers done, in all); a false answer ends the work with CANCELLED.
  std::function<bool(int64_t, int64_t)> progress;
};

class StreamedEncoder {
 public:
  // The model outlives it.
  explicit StreamedEncoder(const nn::Model& model);

  // The hidden states of `ids`, special tokens included: [L, d] in the compute dtype, on the model's device.
  // INVALID_ARGUMENT naming "positions" for a text that is too long for them; CANCELLED. libtorch's exceptions pass.
  absl::StatusOr<at::Tensor> Forward(std::span<const int32_t> ids, const StreamOptions& options) const;

  // Runs a layer on a few thousand rows: some tens of milliseconds for a small model. libtorch's exceptions pass.
  StreamSpeed Measure() const;
  // Seconds of Forward at that speed.
  double Seconds(int64_t tokens, int64_t window, const StreamSpeed& speed) const;
  // The most bytes of tensors that Forward holds, its result included, the model left out.
  int64_t PeakBytes(int64_t tokens, int64_t window) const;

 private:
  class Pass;

  const nn::Model* model_;
  nn::EmbeddingLayer embedding_;
  nn::RelativePositions relative_;  // may not exist
  std::vector<nn::Block> layers_;
  nn::NormLayer final_norm_;  // may not exist
};

}  // namespace engram::longcontext
