#pragma once

// Whether numbers are numbers.

#include <algorithm>
#include <cmath>
#include <span>

#include "core/base/status.h"

namespace engram {

// DATA_LOSS with the reason NOT_FINITE if one of a model's outputs is NaN or infinite: no answer may hold it.
inline absl::Status CheckFinite(std::span<const float> outputs) {
  if (std::all_of(outputs.begin(), outputs.end(), [](float value) { return std::isfinite(value); }))
    return absl::OkStatus();
  return StatusWithReason(absl::StatusCode::kDataLoss, "NOT_FINITE",
                          "the model's answer is not a number (NaN or infinity): its weights are too large or damaged; "
                          "use another version");
}

}  // namespace engram
