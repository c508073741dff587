#pragma once

// Where the tokens of one text are for the encoder, where that is not what the model was trained with. The plan belongs
// to a sequence: what is computed for it does not depend on its neighbours in a batch, nor on what was asked before.

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/base/status.h"

namespace engram::nn {

struct EncoderConfig;

enum class PositionMode {
  kTrained,  // the model's own positions: the rows of its table, or rotations scaled as its config.json says
  // Of models with a position table: core/nn/position_extension.h.
  kHierarchical,
  kGrouped,
  kTiled,
  kInterpolated,
  // Of models with rotary positions, in the place of the model's own scaling: core/checkpoint/rope.h.
  kLinear,
  kNtkAware,
  kDynamic,
  kYarn,
  kDynamicYarn
};

struct PositionPlan {
  PositionMode mode = PositionMode::kTrained;
  // How far positions are stretched, at least 1; 0: as far as the sequence's own length asks for (its length by the
  // trained one, at least 1). Of kLinear, kNtkAware, kDynamic and kYarn alone: the others have no other factor than that.
  double factor = 0;
  bool operator==(const PositionPlan&) const = default;
};

// "trained", "hierarchical", "ntk_aware" ...
std::string_view PositionModeName(PositionMode mode);
std::optional<PositionMode> ParsePositionMode(std::string_view name);

// The longest sequence, special tokens included, that the plan has positions for. kTrained: the trained length with a
// table, and with rotary positions whatever a batch holds.
int64_t LongestWith(const EncoderConfig& config, const PositionPlan& plan);

// OK where the model can place `length` tokens so. INVALID_ARGUMENT (field "positions", "factor" or "length") for a mode
// of the other sort of positions, a factor out of range, a sequence that is too long.
absl::Status CheckPositions(const EncoderConfig& config, const PositionPlan& plan, int64_t length);

// The factor that a sequence of `length` tokens is computed with; 1: not stretched.
double PositionFactor(const EncoderConfig& config, const PositionPlan& plan, int64_t length);

}  // namespace engram::nn
