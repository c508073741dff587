#pragma once

// The loops of the CPU kernels as plain functions over raw memory, one table for each instruction set. isa_kernels.cc
// is compiled once a set with ENGRAM_ISA naming the table; it uses no standard library, so that no inline function
// compiled for a newer processor can be picked by the linker for an older one.

#include <cstdint>

namespace engram::nn::kernels {

// A row-major matrix of fp32 or bf16 (raw 16-bit) elements.
struct LayerNormArguments {
  int64_t width;
  float eps;
  const void* x;         // [rows, width]
  const void* residual;  // or null
  const float* mask;     // dropout mask of this row, or null
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
  const float* mask;  // or null
  void* residual;     // ds
  void* x;            // ds * mask; null if there is no mask
};

// One head of one sequence. Rows of q, k, v lie `stride` elements apart; out and g rows `out_stride` apart.
struct AttentionArguments {
  int64_t length, head_dim, stride, out_stride;
  float scale;
  const void *q, *k, *v;
  void* out;                       // forward
  float* logsumexp;                // [length]; forward: written unless null; backward: read
  const void* g;                   // backward: gradient of out
  void *grad_q, *grad_k, *grad_v;  // backward, rows `stride` apart
  // Fills mask[0, length) for one query row; null without dropout.
  void (*fill_mask)(const void* context, int64_t row, float* mask);
  const void* context;
  float* scratch;  // AttentionScratch(length, head_dim) floats
};

struct KernelTable {
  void (*layer_norm_row)(const LayerNormArguments&, bool bf16);
  void (*layer_norm_gradient_row)(const LayerNormGradientArguments&, bool bf16);
  void (*attention)(const AttentionArguments&, bool bf16);
  void (*attention_gradient)(const AttentionArguments&, bool bf16);
};

// Floats of scratch for one task; enough for forward and backward.
inline int64_t AttentionScratch(int64_t length, int64_t head_dim) {
  const int64_t padded = (length + 15) / 16 * 16;
  return padded * (6 * head_dim + 12) + 16 * head_dim;
}

extern const KernelTable kBaselineKernels;
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvx512Kernels;

// The table for this processor.
const KernelTable& Kernels();

}  // namespace engram::nn::kernels
