#pragma once

// The loops of the CPU kernels as plain functions over raw memory, one table for each instruction set. isa_kernels.cc
// is compiled once per set with ENGRAM_ISA naming the table; it uses no standard library, so that no inline function
// compiled for a newer processor can be picked by the linker for an older one.

#include <cstdint>

namespace engram::nn::kernels {

// Rows in memory are fp32 or bf16 (raw 16-bit).
struct LayerNormArguments {
  int64_t width;
  float eps;
  const void* x;         // [width]
  const void* residual;  // or null
  const uint8_t* keep;   // dropout mask of this row (0 or 1), or null
  float keep_scale;
  const void* gamma;
  const void* beta;
  void* y;
  void* normalized;  // or null
  float* rstd;       // of this row; or null
};

struct LayerNormGradientArguments {
  int64_t width;
  const void* g;
  const void* normalized;
  float rstd;
  const void* gamma;
  const uint8_t* keep;  // or null
  float keep_scale;
  void* residual;  // ds
  void* x;         // ds with the mask applied; not written if there is no mask
};

// sum_g[i] += sum_t g[t][i] and, with `normalized`, sum_product[i] += sum_t g[t][i] * normalized[t][i], over `width`
// columns of rows that lie `stride` elements apart.
struct ColumnSumArguments {
  int64_t rows, width, stride;
  const void* g;
  const void* normalized;  // or null
  float* sum_g;
  float* sum_product;
};

// out[i] = sum of the given rows of up to three tables.
struct EmbeddingArguments {
  int64_t width;
  const void *word, *position, *type;  // the rows; position and type may be null
  void* out;
};

// Which bits dropout draws: core/nn/ops/dropout/dropout_bits.h.
struct DropoutArguments {
  uint64_t seed;
  uint32_t step, site, purpose, threshold;
};

// The matrices of attention's products. Memory holds fp32 or bf16 rows; the panels that are multiplied are fp32 or,
// where the processor multiplies bf16, bf16.
enum class Element { kFloat32, kBFloat16AsFloat32, kBFloat16 };

// How a matrix of `rows` x `width` becomes a panel. A panel is the left operand of a product (row-major), or the right
// one, whose rows go in pairs for bf16: element (k, n) at [k / 2][n][k % 2]; for fp32 row-major again.
enum class Panel {
  kLeft,             // left operand [padded][width]
  kLeftTransposed,   // left operand [width][padded]
  kRight,            // right operand with k = row, n = column
  kRightTransposed,  // right operand with k = column, n = row
};
struct PanelArguments {
  const void* rows;
  int64_t stride, count, padded, width;  // rows past `count` up to `padded`, a multiple of 16, become 0; width is even
  void* panel;
};

// Softmax over the keys of scores^T [used_keys][queries]; queries is a multiple of 16, used_keys an even number >=
// keys.
struct SoftmaxArguments {
  const float* scores;
  int64_t keys, used_keys, queries;
  float scale;
  const uint8_t* keep;  // [keys], rows keep_stride apart; or null
  int64_t keep_stride;
  float keep_scale;
  void* probabilities;  // right operand with k = key, n = query: not yet divided by the sum, dropout applied
  float* logsumexp;     // [queries]
  float* inverse_sum;   // [queries]
};

// From scores^T and (dO V^T)^T, both [used_keys][queries]: P with dropout, and dS. Rows past `keys` become 0.
struct ScoreGradientArguments {
  const float* scores;
  const float* products;
  int64_t keys, used_keys, queries;
  float scale;
  const uint8_t* keep;
  int64_t keep_stride;
  float keep_scale;
  const float* logsumexp;  // [queries], infinity past the sequence's end
  void* probabilities;     // left operand [used_keys][queries]
  void* gradient;          // left operand [used_keys][queries]
  void* gradient_right;    // the same as a right operand with k = key; for fp32 that is `gradient` itself
};

struct KernelTable {
  void (*layer_norm_row)(const LayerNormArguments&, bool bf16);
  void (*layer_norm_gradient_row)(const LayerNormGradientArguments&, bool bf16);
  void (*column_sums)(const ColumnSumArguments&, bool bf16);
  void (*embedding_row)(const EmbeddingArguments&, bool bf16);
  // keep[0, 128 groups): 1 where the element is kept. Group g holds elements 128 g ... 128 g + 127.
  void (*dropout_keep)(const DropoutArguments&, uint64_t first_group, int64_t groups, uint8_t* keep);
  void (*apply_dropout)(int64_t count, const void* x, const uint8_t* keep, float scale, void* out, bool bf16);
  // out = g * d/dx gelu(x), gelu with erf; bf16.
  void (*gelu_gradient)(int64_t count, const void* g, const void* x, void* out);

  // total[i] += weight * x[i]^2, or weight * |x[i]|
  void (*add_powers)(int64_t count, const float* x, float weight, bool absolute, float* total);

  void (*fill_panel)(Element, Panel, const PanelArguments&);
  void (*softmax)(Element, const SoftmaxArguments&);
  void (*score_gradient)(Element, const ScoreGradientArguments&);
  // out[t][c] = columns[c][t] * factor[t] for t < count, c < width; columns' rows lie `queries` apart; factor null: 1.
  void (*store_transposed)(Element, const float* columns, int64_t queries, const float* factor, int64_t count,
                           int64_t width, int64_t stride, void* out);
  // out[t][c] = rows[t][c]
  void (*store_rows)(Element, const float* rows, int64_t count, int64_t width, int64_t stride, void* out);
};

extern const KernelTable kBaselineKernels;
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvx512Kernels;

// The table for this processor.
const KernelTable& Kernels();

}  // namespace engram::nn::kernels
