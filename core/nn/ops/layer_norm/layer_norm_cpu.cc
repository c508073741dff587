#include "ATen/Parallel.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/empty_like.h"
#include "core/nn/kernels/tensor_rows.h"
#include "core/nn/ops/dropout/dropout_keep.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::cpu {
namespace {

using kernels::Bytes, kernels::IsBf16, kernels::Kernels, kernels::kRowGrain, kernels::MutableBytes;

LayerNormResult AddLayerNorm(const at::Tensor& x, const at::Tensor& residual, const Dropout& dropout,
                             const at::Tensor& gamma, const at::Tensor& beta, double eps, bool keep) {
  const int64_t rows = x.size(0), width = x.size(1), row_bytes = width * x.element_size();
  LayerNormResult result;
  result.y = at::empty_like(x);
  if (keep) {
    result.normalized = at::empty_like(x);
    result.rstd = at::empty({rows}, at::kFloat);
  }
  at::parallel_for(0, rows, kRowGrain, [&](int64_t begin, int64_t end) {
    RowMask mask(dropout, width);
    for (int64_t t = begin; t < end; ++t) {
      Kernels().layer_norm_row({width, static_cast<float>(eps), Bytes(x) + t * row_bytes,
                                residual.defined() ? Bytes(residual) + t * row_bytes : nullptr, mask.Row(t),
                                mask.scale(), Bytes(gamma), Bytes(beta), MutableBytes(result.y) + t * row_bytes,
                                keep ? MutableBytes(result.normalized) + t * row_bytes : nullptr,
                                keep ? result.rstd.mutable_data_ptr<float>() + t : nullptr},
                               IsBf16(x));
    }
  });
  return result;
}

AddLayerNormGradientResult AddLayerNormGradient(const at::Tensor& g, const at::Tensor& normalized,
                                                const at::Tensor& rstd, const at::Tensor& gamma,
                                                const Dropout& dropout) {
  const int64_t rows = g.size(0), width = g.size(1), row_bytes = width * g.element_size();
  AddLayerNormGradientResult result;
  result.residual = at::empty_like(g);
  result.x = dropout.active() ? at::empty_like(g) : result.residual;
  at::parallel_for(0, rows, kRowGrain, [&](int64_t begin, int64_t end) {
    RowMask mask(dropout, width);
    for (int64_t t = begin; t < end; ++t) {
      Kernels().layer_norm_gradient_row(
          {width, Bytes(g) + t * row_bytes, Bytes(normalized) + t * row_bytes, rstd.const_data_ptr<float>()[t],
           Bytes(gamma), mask.Row(t), mask.scale(), MutableBytes(result.residual) + t * row_bytes,
           MutableBytes(result.x) + t * row_bytes},
          IsBf16(g));
    }
  });
  return result;
}

void LayerNormWeightGradient(const at::Tensor& g, const at::Tensor& normalized, const at::Tensor& grad_gamma,
                             const at::Tensor& grad_beta) {
  kernels::ColumnSums(g.contiguous(), normalized, grad_beta, grad_gamma);
}

}  // namespace

void SetLayerNorm(OpTable& table) {
  table.add_layer_norm = AddLayerNorm;
  table.add_layer_norm_gradient = AddLayerNormGradient;
  table.layer_norm_weight_gradient = LayerNormWeightGradient;
}

}  // namespace engram::nn::ops::cpu
