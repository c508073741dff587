#pragma once

// Kernels of embedding.h, and of the squared gradient of a table (squared_gradient.h).

#include "core/nn/cuda/elements.h"

namespace engram::nn::cuda {

template <typename T>
struct EmbeddingTable {
  const T* table = nullptr;  // [rows, width]; null: nothing is added
  const int32_t* index = nullptr;
  int64_t shift = 0;  // of every index
  int64_t rows = 0;

  // Entry c of the row that token t reads. NaN for a row that the table does not have: it shows in the answer, where a
  // read beyond the table might not.
  ENGRAM_DEVICE float At(int64_t t, int64_t c, int64_t width) const {
    const int64_t row = index[t] + shift;
    return row >= 0 && row < rows ? ToFloat(table[row * width + c]) : NAN;
  }
};

// A token for each block.
template <typename T>
struct EmbeddingSumBody {
  EmbeddingTable<T> word, position, type;
  T* out;
  int64_t width;

  template <typename Team>
  ENGRAM_DEVICE void operator()(Team& team, int64_t t) const {
    for (int64_t c = team.rank(); c < width; c += team.size()) {
      float sum = word.At(t, c, width);
      if (position.table != nullptr) sum += position.At(t, c, width);
      if (type.table != nullptr) sum += type.At(t, c, width);
      Store(out + t * width + c, sum);
    }
  }
};

// Rows that read one row of a table, next to each other: block p sums up the run that begins at place p, and nothing where
// none does. Within a run those of one sequence are next to each other, too.
//   weight null   table[id] += sum of the rows
//   else          table[id] += sum over sequences of weight * (sum of the sequence's rows)^2, or its absolute value
template <typename T>
struct RunSumsBody {
  const T* g;            // [rows, width]
  const int64_t* keys;   // ascending: id << 32 | sequence
  const int64_t* order;  // the row of g at each place
  const float* weight;
  bool absolute;
  float* table;
  int64_t rows, width;

  template <typename Team>
  ENGRAM_DEVICE void operator()(Team& team, int64_t place) const {
    const int64_t id = keys[place] >> 32;
    if (place > 0 && keys[place - 1] >> 32 == id) return;
    for (int64_t c = team.rank(); c < width; c += team.size()) {
      float total = 0, sum = 0;
      for (int64_t p = place; p < rows && keys[p] >> 32 == id; ++p) {
        sum += ToFloat(g[order[p] * width + c]);
        if (weight == nullptr || (p + 1 < rows && keys[p + 1] == keys[p])) continue;
        total += weight[keys[p] & 0xFFFFFFFF] * (absolute ? fabsf(sum) : sum * sum);
        sum = 0;
      }
      table[id * width + c] += weight == nullptr ? sum : total;
    }
  }
};

}  // namespace engram::nn::cuda
