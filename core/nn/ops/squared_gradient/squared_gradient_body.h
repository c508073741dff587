#pragma once

// Kernels of squared_gradient.h for linear layers and norms.

#include "core/nn/cuda/elements.h"

namespace engram::nn::cuda {

constexpr int64_t kSquareTile = 64;    // rows and columns of the total that a block owns
constexpr int64_t kSquareStep = 32;    // tokens that it multiplies at once
constexpr int64_t kSquareStride = 72;  // of a token in shared memory: 16-byte aligned, spread over the banks
constexpr int kSquareWarps = 4;        // each owns a quarter of the tile

// The quarter of a tile that one warp owns: the running product of a sequence, and the total over sequences. This form
// multiplies in fp32; launch.cu has one that multiplies bf16 by tensor cores, which round nothing either: the products of two
// bf16 are exact in fp32.
template <typename T, typename Team>
class TileSum {
 public:
  ENGRAM_DEVICE explicit TileSum(const Team& team)
      : row_(team.warp() / 2 * kQuarter), column_(team.warp() % 2 * kQuarter + team.lane()) {
    for (float& value : total_) value = 0;
  }
  ENGRAM_DEVICE void Clear() {
    for (float& value : product_) value = 0;
  }
  // product += left^T right over the tokens in shared memory.
  ENGRAM_DEVICE void Multiply(const T* left, const T* right) {
    for (int64_t t = 0; t < kSquareStep; ++t) {
      for (int c = 0; c < kOwnColumns; ++c) {
        const float x = ToFloat(right[t * kSquareStride + column_ + c * Team::kLanes]);
        for (int r = 0; r < kQuarter; ++r)
          product_[c * kQuarter + r] += ToFloat(left[t * kSquareStride + row_ + r]) * x;
      }
    }
  }
  ENGRAM_DEVICE void AddPower(float weight, bool absolute) {
    for (int e = 0; e < kOwnColumns * kQuarter; ++e)
      total_[e] += weight * (absolute ? fabsf(product_[e]) : product_[e] * product_[e]);
  }
  // add(row, column, value) for each entry that is this thread's, counted within the tile. `scratch` is the block's shared
  // memory; the block is in step.
  template <typename Add>
  ENGRAM_DEVICE void ForEach(Team& /*team*/, float* /*scratch*/, const Add& add) const {
    for (int c = 0; c < kOwnColumns; ++c) {
      for (int r = 0; r < kQuarter; ++r) add(row_ + r, column_ + c * Team::kLanes, total_[c * kQuarter + r]);
    }
  }

 private:
  static constexpr int kQuarter = kSquareTile / 2, kOwnColumns = kQuarter / Team::kLanes;
  int64_t row_, column_;
  float product_[kOwnColumns * kQuarter], total_[kOwnColumns * kQuarter];
};

// total[split, o, i] += sum over sequences of weight * (g_n^T x_n)^2, or * |g_n^T x_n|. The results of single sequences never
// reach the device's memory. Block: split * tiles + tile; a split takes every splits-th sequence. Launched with kSquareWarps
// warps and kSharedBytes.
template <typename T>
struct SquaredProductBody {
  static constexpr int64_t kPanel = kSquareStep * kSquareStride;
  static constexpr int64_t kSharedBytes =
      2 * kPanel * 4 > kSquareTile* kSquareTile * 4 ? 2 * kPanel * 4 : kSquareTile* kSquareTile * 4;

  const T *g, *x;  // [T, outputs], [T, inputs]
  const int32_t* cu_rows;
  const float* weight;
  int64_t sequences, outputs, inputs, splits;
  bool absolute;
  bool whole_chunks;  // rows of g and x begin at multiples of 16 bytes
  float* total;       // [splits, outputs, inputs]

  template <typename Team>
  ENGRAM_DEVICE void operator()(Team& team, int64_t block) const {
    const int64_t tiles_across = Blocks(inputs, kSquareTile), tiles = Blocks(outputs, kSquareTile) * tiles_across;
    const int64_t split = block / tiles, tile = block % tiles;
    const int64_t first_row = tile / tiles_across * kSquareTile, first_column = tile % tiles_across * kSquareTile;
    T* left = team.template Shared<T>();
    T* right = left + kPanel;
    TileSum<T, Team> sum(team);
    for (int64_t n = split; n < sequences; n += splits) {
      const int64_t end = cu_rows[n + 1];
      if (cu_rows[n] == end) continue;
      sum.Clear();
      for (int64_t t = cu_rows[n]; t < end; t += kSquareStep) {
        team.Sync();
        LoadPanel(team, g, outputs, first_row, t, end, left);
        LoadPanel(team, x, inputs, first_column, t, end, right);
        team.Sync();
        sum.Multiply(left, right);
      }
      sum.AddPower(weight[n], absolute);
    }
    team.Sync();
    float* to = total + split * outputs * inputs;
    sum.ForEach(team, team.template Shared<float>(), [&](int64_t r, int64_t c, float value) {
      if (first_row + r < outputs && first_column + c < inputs)
        to[(first_row + r) * inputs + first_column + c] += value;
    });
  }

 private:
  struct alignas(16) Chunk {
    T values[16 / sizeof(T)];
  };

  // Columns [first, first + kSquareTile) of the tokens [begin, begin + kSquareStep); 0 beyond `end` and beyond the width.
  template <typename Team>
  ENGRAM_DEVICE void LoadPanel(Team& team, const T* from, int64_t width, int64_t first, int64_t begin, int64_t end,
                               T* panel) const {
    constexpr int kWide = 16 / sizeof(T);
    if (whole_chunks) {
      constexpr int kAcross = static_cast<int>(kSquareTile) / kWide;
      for (int e = team.rank(); e < kSquareStep * kAcross; e += team.size()) {
        const int64_t t = begin + e / kAcross, c = first + e % kAcross * kWide;
        Chunk chunk{};
        if (t < end && c < width) chunk = *reinterpret_cast<const Chunk*>(from + t * width + c);
        *reinterpret_cast<Chunk*>(panel + e / kAcross * kSquareStride + e % kAcross * kWide) = chunk;
      }
      return;
    }
    for (int e = team.rank(); e < kSquareStep * kSquareTile; e += team.size()) {
      const int64_t t = begin + e / kSquareTile, c = first + e % kSquareTile;
      panel[e / kSquareTile * kSquareStride + e % kSquareTile] = t < end && c < width ? from[t * width + c] : T{};
    }
  }
};

// powers[n, c] = weight[n] * (sum over the rows of sequence n of g, or of g * normalized)^2, or * |sum|. Columns
// [kColumns c, kColumns (c + 1)) of sequence n for block n * column blocks + c.
template <typename T>
struct SquaredColumnSumsBody {
  static constexpr int64_t kColumns = 128;

  const T *g, *normalized;  // normalized: or null
  const int32_t* cu_rows;
  const float* weight;
  float* powers;  // [sequences, width]
  int64_t width;
  bool absolute;

  template <typename Team>
  ENGRAM_DEVICE void operator()(Team& team, int64_t block) const {
    const int64_t column_blocks = Blocks(width, kColumns), n = block / column_blocks;
    const int64_t first_column = block % column_blocks * kColumns;
    for (int64_t c = first_column + team.rank(); c < first_column + kColumns && c < width; c += team.size()) {
      float sum = 0;
      for (int64_t t = cu_rows[n]; t < cu_rows[n + 1]; ++t) {
        const float value = ToFloat(g[t * width + c]);
        sum += normalized == nullptr ? value : value * ToFloat(normalized[t * width + c]);
      }
      // No row, no term: a weight that is not finite would turn 0 into NaN.
      powers[n * width + c] = cu_rows[n] == cu_rows[n + 1] ? 0.0F : weight[n] * (absolute ? fabsf(sum) : sum * sum);
    }
  }
};

}  // namespace engram::nn::cuda
