#pragma once

// Kernels of pooling.h.

#include "core/nn/cuda/elements.h"

namespace engram::nn::cuda {

// Columns [kColumns c, kColumns (c + 1)) of sequence n for block n * column blocks + c.
template <typename T>
struct MeanPoolBody {
  static constexpr int64_t kColumns = 128;

  const T* hidden;
  const int32_t* cu_seqlens;
  T* out;
  int64_t width;

  template <typename Team>
  ENGRAM_DEVICE void operator()(Team& team, int64_t block) const {
    const int64_t column_blocks = Blocks(width, kColumns), n = block / column_blocks;
    const int64_t first_column = block % column_blocks * kColumns;
    const int64_t begin = cu_seqlens[n], end = cu_seqlens[n + 1];
    for (int64_t c = first_column + team.rank(); c < first_column + kColumns && c < width; c += team.size()) {
      float sum = 0;
      for (int64_t t = begin; t < end; ++t) sum += ToFloat(hidden[t * width + c]);
      Store(out + n * width + c, sum / static_cast<float>(end - begin));
    }
  }
};

}  // namespace engram::nn::cuda
