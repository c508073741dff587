#pragma once

// What a streamed encoder (streamed_encoder.h) takes for a text of some length: from the numbers of a model alone, so that
// it can be said of models whose weights are not here.

#include <cstdint>
#include <functional>

#include "core/nn/encoder_config.h"

namespace engram::longcontext {

// Seconds of one layer.
struct StreamSpeed {
  double per_row = 0;   // everything but attention, for each token
  double per_pair = 0;  // attention, for each token that a token is multiplied with
};

// How far a token of that layer sees under a request's window (0: none): the nearer of the two; -1: everything.
int64_t StreamReach(const nn::EncoderConfig& config, int64_t layer, int64_t window);

// Rows of a run through linear layers and norms.
int64_t StreamRowRun(bool on_cpu);
// Queries of a run through the attention of a layer that sees `reach`: about as many that the run takes less than a second
// on a processor, and so many that a window's mask stays small.
int64_t StreamQueryRun(const nn::EncoderConfig& config, int64_t tokens, int64_t reach);

// Seconds of all layers; `attention`, if given: those of them that attention takes.
double StreamSeconds(const nn::EncoderConfig& config, int64_t tokens, int64_t window, const StreamSpeed& speed,
                     double* attention = nullptr);

// The most bytes of tensors that are held at once, the result included and the model left out. `element`: bytes of a
// number of the compute dtype; `threads`: that compute.
int64_t StreamPeakBytes(const nn::EncoderConfig& config, int64_t element, int64_t threads, bool on_cpu, int64_t tokens,
                        int64_t window);

// The most tokens, at most `most`, whose bytes, which grow with them, are at most `free`.
int64_t LargestBy(const std::function<int64_t(int64_t)>& bytes, int64_t free, int64_t most);

}  // namespace engram::longcontext
