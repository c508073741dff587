#pragma once

// Kernels of dropout.h.

#include "core/nn/cuda/dropout_slots.h"
#include "core/nn/cuda/elements.h"

namespace engram::nn::cuda {

// Elements [kElements b, kElements (b + 1)) of block b.
template <typename T>
struct ApplyDropoutBody {
  static constexpr int64_t kElements = 4096;

  const T* x;
  T* out;
  int64_t count;
  DropoutKey dropout;

  template <typename Team>
  ENGRAM_DEVICE void operator()(Team& team, int64_t block) const {
    const int64_t first = block * kElements, size = count - first < kElements ? count - first : kElements;
    ForEachElement(team.rank(), team.size(), static_cast<uint64_t>(first), size, dropout,
                   [&](int64_t i, float factor) { Store(out + first + i, ToFloat(x[first + i]) * factor); });
  }
};

// out[r, i]: what element first[r] + i is multiplied with.
struct DropoutMaskBody {
  static constexpr int64_t kElements = 4096;

  const int64_t* first;  // multiples of 128
  float* out;            // [rows, count]
  int64_t count;
  DropoutKey dropout;

  template <typename Team>
  ENGRAM_DEVICE void operator()(Team& team, int64_t block) const {
    const int64_t parts = Blocks(count, kElements), row = block / parts, begin = block % parts * kElements;
    const int64_t size = count - begin < kElements ? count - begin : kElements;
    float* to = out + row * count + begin;
    ForEachElement(team.rank(), team.size(), static_cast<uint64_t>(first[row] + begin), size, dropout,
                   [&](int64_t i, float factor) { to[i] = factor; });
  }
};

}  // namespace engram::nn::cuda
