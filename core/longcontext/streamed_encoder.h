#pragma once

// One sequence of any length through the encoder in bounded memory: layer by layer, the feed-forward in runs of rows,
// attention by libtorch's flash kernel in runs of queries. No scores, no mask of the whole text, nothing kept of a layer
// once the next one begins. At the peak there are the rows of the hidden state, of query, key and value of one layer and
// of its attention: 5 d numbers per token, and a few runs of rows.
//
// What it computes is Model::Encode of one sequence, with positions beyond the trained ones (nn::PositionExtension) and,
// if asked for, a window: token i sees the tokens j with |i - j| <= window.

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/checkpoint/tensor_names.h"
#include "core/nn/model.h"
#include "core/nn/position_extension.h"

namespace engram::longcontext {

struct StreamOptions {
  int64_t window = 0;  // tokens that a token sees on each side; 0: all
  nn::PositionExtension positions = nn::PositionExtension::kHierarchical;
  // Called several times a second with (tokens times layers done, in all); a false answer ends the work with CANCELLED.
  std::function<bool(int64_t, int64_t)> progress;
};

// Seconds of one layer on this machine now.
struct StreamSpeed {
  double per_row = 0;   // everything but attention, for each token
  double per_pair = 0;  // attention, for each token that a token sees
};

class StreamedEncoder {
 public:
  // FAILED_PRECONDITION for a model whose block this does not know. The model outlives it.
  static absl::StatusOr<StreamedEncoder> Create(const nn::Model& model);

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
  struct Layer {
    at::Tensor qkv_weight, qkv_bias, attention_weight, attention_bias, attention_gamma, attention_beta;
    at::Tensor intermediate_weight, intermediate_bias, output_weight, output_bias, output_gamma, output_beta;
  };
  class Pass;

  explicit StreamedEncoder(const nn::Model& model) : config_(model.config()) {}
  void Place(const checkpoint::ExpectedTensor& tensor, const nn::ParameterBuffer& parameters, nn::SlotId slot);
  bool complete() const;
  at::Tensor Embed(std::span<const int32_t> ids, nn::PositionExtension positions, int64_t begin, int64_t end) const;
  at::Tensor FeedForward(const Layer& layer, const at::Tensor& attention, const at::Tensor& input) const;
  int64_t BytesPerRow() const;
  int64_t FixedBytes(int64_t window) const;

  nn::EncoderConfig config_;
  at::Tensor word_, position_, type_, embedding_gamma_, embedding_beta_;
  std::vector<Layer> layers_;
};

}  // namespace engram::longcontext
