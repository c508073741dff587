#pragma once

// Kernels of layer_norm.h, a row for each block; statistics and sums are fp32.

#include "core/nn/cuda/dropout_slots.h"
#include "core/nn/cuda/elements.h"

namespace engram::nn::cuda {

// Shared memory: `width` floats, the row's sum of the branches.
template <typename T>
struct AddLayerNormBody {
  const T *x, *residual, *gamma, *beta;  // residual: or null
  T *y, *normalized;                     // normalized, rstd: or null
  float* rstd;
  int64_t width;
  float eps;
  DropoutKey dropout;

  template <typename Team>
  ENGRAM_DEVICE void operator()(Team& team, int64_t row) const {
    float* sum = team.template Shared<float>();
    const int64_t first = row * width;
    const DropoutKey none{};
    float total = 0;
    ForEachElement(team.rank(), team.size(), static_cast<uint64_t>(first), width, dropout,
                   [&](int64_t i, float factor) {
                     float value = ToFloat(x[first + i]) * factor;
                     if (residual != nullptr) value += ToFloat(residual[first + i]);
                     sum[i] = value;
                     total += value;
                   });
    const float mean = team.Sum(total) / static_cast<float>(width);
    float squares = 0;
    const auto each_own = [&](const auto& visit) {
      ForEachElement(team.rank(), team.size(), static_cast<uint64_t>(first), width, none,
                     [&](int64_t i, float) { visit(i); });
    };
    each_own([&](int64_t i) { squares += (sum[i] - mean) * (sum[i] - mean); });
    const float scale = 1.0F / sqrtf(team.Sum(squares) / static_cast<float>(width) + eps);
    each_own([&](int64_t i) {
      const float n = (sum[i] - mean) * scale;
      Store(y + first + i, n * ToFloat(gamma[i]) + ToFloat(beta[i]));
      if (normalized != nullptr) Store(normalized + first + i, n);
    });
    if (rstd != nullptr && team.rank() == 0) rstd[row] = scale;
  }
};

template <typename T>
struct AddLayerNormGradientBody {
  const T *g, *normalized, *gamma;
  const float* rstd;
  T *residual, *x;  // the same tensor if dropout is not active
  int64_t width;
  DropoutKey dropout;

  template <typename Team>
  ENGRAM_DEVICE void operator()(Team& team, int64_t row) const {
    const int64_t first = row * width;
    const DropoutKey none{};
    float sum = 0, projection = 0;
    ForEachElement(team.rank(), team.size(), static_cast<uint64_t>(first), width, none, [&](int64_t i, float) {
      const float dn = ToFloat(g[first + i]) * ToFloat(gamma[i]);
      sum += dn;
      projection += dn * ToFloat(normalized[first + i]);
    });
    const float mean = team.Sum(sum) / static_cast<float>(width);
    const float along = team.Sum(projection) / static_cast<float>(width);
    const float scale = rstd[row];
    ForEachElement(team.rank(), team.size(), static_cast<uint64_t>(first), width, dropout,
                   [&](int64_t i, float factor) {
                     const float dn = ToFloat(g[first + i]) * ToFloat(gamma[i]);
                     const float ds = (dn - mean - ToFloat(normalized[first + i]) * along) * scale;
                     Store(residual + first + i, ds);
                     if (dropout.active) Store(x + first + i, ds * factor);
                   });
  }
};

// Sums over `rows` rows of g and of g * normalized, columns [128 c, 128 (c + 1)) of rows [kRows r, kRows (r + 1)), block
// number r * column blocks + c; the parts are added up by whoever launches it.
template <typename T>
struct ColumnSumsBody {
  static constexpr int64_t kColumns = 128;

  const T *g, *normalized;
  float *products, *sums;  // [row blocks, width]
  int64_t rows, width, rows_each;

  template <typename Team>
  ENGRAM_DEVICE void operator()(Team& team, int64_t block) const {
    const int64_t column_blocks = Blocks(width, kColumns);
    const int64_t part = block / column_blocks, first_column = block % column_blocks * kColumns;
    const int64_t begin = part * rows_each, end = begin + rows_each < rows ? begin + rows_each : rows;
    for (int64_t c = first_column + team.rank(); c < first_column + kColumns && c < width; c += team.size()) {
      float product = 0, sum = 0;
      for (int64_t t = begin; t < end; ++t) {
        const float value = ToFloat(g[t * width + c]);
        product += value * ToFloat(normalized[t * width + c]);
        sum += value;
      }
      products[part * width + c] = product;
      sums[part * width + c] = sum;
    }
  }
};

}  // namespace engram::nn::cuda
