#include <algorithm>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/empty_like.h"
#include "core/nn/cuda/device_ops.h"
#include "core/nn/cuda/run.h"
#include "core/nn/ops/layer_norm/layer_norm_body.h"

namespace engram::nn::cuda {
namespace {

ops::LayerNormResult AddLayerNorm(const at::Tensor& x, const at::Tensor& residual, const ops::Dropout& dropout,
                                  const at::Tensor& gamma, const at::Tensor& beta, double eps, bool keep) {
  const at::Tensor from = x.contiguous(), other = residual.defined() ? residual.contiguous() : residual;
  const int64_t rows = from.size(0), width = from.size(1);
  ops::LayerNormResult result;
  result.y = at::empty_like(from);
  if (keep) {
    result.normalized = at::empty_like(from);
    result.rstd = at::empty({rows}, from.options().dtype(at::kFloat));
  }
  ForElements(from.scalar_type(), [&]<typename T>(T) {
    Run(AddLayerNormBody<T>{Read<T>(from), Read<T>(other), Read<T>(gamma), Read<T>(beta), Write<T>(result.y),
                            Write<T>(result.normalized), Write<float>(result.rstd), width, static_cast<float>(eps),
                            KeyOf(dropout)},
        {rows, RowWarps(width), width * static_cast<int64_t>(sizeof(float))}, from);
  });
  return result;
}

ops::AddLayerNormGradientResult AddLayerNormGradient(const at::Tensor& g, const at::Tensor& normalized,
                                                     const at::Tensor& rstd, const at::Tensor& gamma,
                                                     const ops::Dropout& dropout) {
  const at::Tensor from = g.contiguous();
  ops::AddLayerNormGradientResult result;
  result.residual = at::empty_like(from);
  result.x = dropout.active() ? at::empty_like(from) : result.residual;
  const int64_t width = from.size(1);
  ForElements(from.scalar_type(), [&]<typename T>(T) {
    Run(AddLayerNormGradientBody<T>{Read<T>(from), Read<T>(normalized), Read<T>(gamma), Read<float>(rstd),
                                    Write<T>(result.residual), Write<T>(result.x), width, KeyOf(dropout)},
        {from.size(0), RowWarps(width)}, from);
  });
  return result;
}

void LayerNormWeightGradient(const at::Tensor& g, const at::Tensor& normalized, const at::Tensor& grad_gamma,
                             const at::Tensor& grad_beta) {
  const at::Tensor from = g.contiguous();
  const int64_t rows = from.size(0), width = from.size(1);
  // By the number of rows alone: about 64 parts, so that all of the device works and few sums are left to add.
  const int64_t rows_each = std::clamp<int64_t>(rows / 64, 16, 512), parts = Blocks(rows, rows_each);
  const at::Tensor products = at::empty({parts, width}, from.options().dtype(at::kFloat)),
                   sums = at::empty_like(products);
  ForElements(from.scalar_type(), [&]<typename T>(T) {
    using Body = ColumnSumsBody<T>;
    Run(Body{Read<T>(from), Read<T>(normalized), Write<float>(products), Write<float>(sums), rows, width, rows_each},
        {parts * Blocks(width, Body::kColumns), WarpsFor(Body::kColumns)}, from);
  });
  grad_gamma.add_(products.sum(0));
  grad_beta.add_(sums.sum(0));
}

}  // namespace

void SetLayerNorm(ops::OpTable& table) {
  table.add_layer_norm = AddLayerNorm;
  table.add_layer_norm_gradient = AddLayerNormGradient;
  table.layer_norm_weight_gradient = LayerNormWeightGradient;
}

}  // namespace engram::nn::cuda
