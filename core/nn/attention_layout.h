#pragma once

// Where the dropout bits of one row of attention probabilities begin; shared by the reference and the CPU kernels.

#include <cstdint>

#include "core/nn/packed_batch.h"

namespace engram::nn {

// The first dropout element of the probabilities of (global token row, head): rows are padded to whole Philox blocks.
inline uint64_t AttentionDropoutRow(const PackedBatch& batch, int64_t row, int64_t head, int64_t heads) {
  const uint64_t stride = (static_cast<uint64_t>(batch.max_seqlen) + 7) / 8 * 8;
  return (static_cast<uint64_t>(row) * static_cast<uint64_t>(heads) + static_cast<uint64_t>(head)) * stride;
}

}  // namespace engram::nn
