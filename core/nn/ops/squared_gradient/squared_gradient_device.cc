#include <algorithm>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/zeros.h"
#include "core/nn/cuda/device_ops.h"
#include "core/nn/cuda/run.h"
#include "core/nn/ops/squared_gradient/squared_gradient_body.h"

namespace engram::nn::cuda {
namespace {

// Whether rows can be read 16 bytes at a time.
bool WholeChunks(const at::Tensor& rows) {
  return reinterpret_cast<uintptr_t>(rows.const_data_ptr()) % 16 == 0 && rows.size(1) * rows.element_size() % 16 == 0;
}

void AddSquaredProducts(const at::Tensor& g, const at::Tensor& x, const DeviceRows& rows, bool absolute,
                        const at::Tensor& total) {
  constexpr int64_t kEnoughBlocks = 528, kMostSplits = 8;  // four for each multiprocessor of an H100
  const int64_t outputs = g.size(1), inputs = x.size(1), sequences = rows.weight.size(0);
  const int64_t tiles = Blocks(outputs, kSquareTile) * Blocks(inputs, kSquareTile);
  const int64_t splits = std::clamp<int64_t>(std::min(kEnoughBlocks / tiles, sequences), 1, kMostSplits);
  const at::Tensor parts = splits == 1 ? total : at::zeros({splits, outputs, inputs}, total.options());
  ForElements(g.scalar_type(), [&]<typename T>(T) {
    using Body = SquaredProductBody<T>;
    Run(Body{Read<T>(g), Read<T>(x), Read<int32_t>(rows.cu_rows), Read<float>(rows.weight), sequences, outputs, inputs,
             splits, absolute, WholeChunks(g) && WholeChunks(x), Write<float>(parts)},
        {splits * tiles, kSquareWarps, Body::kSharedBytes}, g);
  });
  if (splits > 1) total.add_(parts.sum(0));
}

void AddSquaredColumnSums(const at::Tensor& g, const at::Tensor& normalized, const DeviceRows& rows, bool absolute,
                          const at::Tensor& total) {
  const int64_t width = g.size(1), sequences = rows.weight.size(0);
  const at::Tensor powers = at::empty({sequences, width}, total.options());
  ForElements(g.scalar_type(), [&]<typename T>(T) {
    using Body = SquaredColumnSumsBody<T>;
    Run(Body{Read<T>(g), Read<T>(normalized), Read<int32_t>(rows.cu_rows), Read<float>(rows.weight),
             Write<float>(powers), width, absolute},
        {sequences * Blocks(width, Body::kColumns), WarpsFor(Body::kColumns)}, g);
  });
  total.add_(powers.sum(0));
}

void SquaredLinearGradient(const at::Tensor& g, const at::Tensor& x, std::span<const int32_t> cu_rows,
                           std::span<const float> weight, bool absolute, const at::Tensor& square_w,
                           const at::Tensor& square_b) {
  const DeviceRows rows = RowsOn(g.device(), cu_rows, weight);
  const at::Tensor from = g.contiguous();
  if (square_w.defined()) {
    // A view of the importance that is not a matrix of its own cannot be summed into by place.
    const bool direct = square_w.is_contiguous();
    const at::Tensor total = direct ? square_w : square_w.contiguous();
    AddSquaredProducts(from, x.to(from.scalar_type()).contiguous(), rows, absolute, total);
    if (!direct) square_w.copy_(total);
  }
  if (square_b.defined()) AddSquaredColumnSums(from, at::Tensor(), rows, absolute, square_b);
}

void SquaredLayerNormGradient(const at::Tensor& g, const at::Tensor& normalized, std::span<const int32_t> cu_rows,
                              std::span<const float> weight, bool absolute, const at::Tensor& square_gamma,
                              const at::Tensor& square_beta) {
  const DeviceRows rows = RowsOn(g.device(), cu_rows, weight);
  const at::Tensor from = g.contiguous();
  AddSquaredColumnSums(from, normalized.contiguous(), rows, absolute, square_gamma);
  AddSquaredColumnSums(from, at::Tensor(), rows, absolute, square_beta);
}

void SquaredEmbeddingGradient(const at::Tensor& g, const at::Tensor& index, std::span<const int32_t> cu_rows,
                              std::span<const float> weight, bool absolute, const at::Tensor& square_table) {
  AddRuns(g, index.to(at::kLong), RowsOn(g.device(), cu_rows, weight), absolute, square_table);
}

}  // namespace

void SetSquaredGradient(ops::OpTable& table) {
  table.squared_linear_gradient = SquaredLinearGradient;
  table.squared_layer_norm_gradient = SquaredLayerNormGradient;
  table.squared_embedding_gradient = SquaredEmbeddingGradient;
}

}  // namespace engram::nn::cuda
