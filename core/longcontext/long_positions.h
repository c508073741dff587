#pragma once

// Where the tokens of a text that is read whole are.

#include <cstdint>
#include <optional>

#include "core/base/status.h"
#include "core/nn/encoder_config.h"
#include "core/nn/position_plan.h"

namespace engram::longcontext {

struct LongPositions {
  nn::PositionPlan plan;
  bool out_of_trained_range = false;
  double factor = 1;  // positions for each trained one; 1: not stretched
};

// Of `tokens` tokens, special ones included, of which each sees `window` on each side (0: as its layer says). A table is
// left where the text is longer than it; rotations, which are differences of positions, where some token sees one that is
// farther away than the training's texts were long. Beyond that range and unless something is asked for:
//
//   a table        hierarchical
//   rotations      the model's own where they follow the text's length (dynamic NTK, dynamic YaRN), else dynamic YaRN:
//                  a scale that the model was not trained with is never taken silently
//
// INVALID_ARGUMENT naming "positions" or "position_factor".
absl::StatusOr<LongPositions> ChoosePositions(const nn::EncoderConfig& config,
                                              const std::optional<nn::PositionPlan>& asked, int64_t tokens,
                                              int64_t window);

// OK where the plan has positions for that many tokens; INVALID_ARGUMENT naming "positions".
absl::Status CheckLength(const nn::EncoderConfig& config, const nn::PositionPlan& plan, int64_t tokens);

// The longest text, special tokens included, that what is asked for has positions for.
int64_t LongestText(const nn::EncoderConfig& config, const std::optional<nn::PositionPlan>& asked);

}  // namespace engram::longcontext
