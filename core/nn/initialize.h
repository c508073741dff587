#pragma once

// Initial weights, as transformers draws them: matrices N(0, range), vectors whose name ends in "bias" 0, LayerNorm
// gains 1.

#include <cstdint>
#include <vector>

#include "core/nn/parameter_buffer.h"

namespace engram::nn {

// Each slot's numbers depend on (seed, slot's name) alone, not on the order of slots. Refreshes the compute copy.
void InitializeSlots(const std::vector<SlotId>& slots, double range, uint64_t seed, ParameterBuffer& parameters);

}  // namespace engram::nn
