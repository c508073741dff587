#include <algorithm>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/empty_like.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/zeros.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::reference {
namespace {

// total += weight * gradient^2, or weight * |gradient|.
void AddPower(const at::Tensor& total, const at::Tensor& gradient, float weight, bool absolute) {
  if (absolute) {
    total.add_(gradient.abs(), weight);
  } else {
    total.addcmul_(gradient, gradient, weight);
  }
}

void SquaredLinearGradient(const at::Tensor& g, const at::Tensor& x, std::span<const int32_t> cu_rows,
                           std::span<const float> weight, bool absolute, const at::Tensor& square_w,
                           const at::Tensor& square_b) {
  at::Tensor scratch = square_w.defined() ? at::empty_like(square_w) : at::Tensor();
  for (size_t n = 0; n < weight.size(); ++n) {
    const int64_t rows = cu_rows[n + 1] - cu_rows[n];
    if (rows == 0) continue;
    const at::Tensor gn = g.narrow(0, cu_rows[n], rows);
    if (square_w.defined()) {
      const at::Tensor xn = x.narrow(0, cu_rows[n], rows);
      at::mm_out(scratch, gn.to(at::kFloat).t(), xn.to(at::kFloat));
      AddPower(square_w, scratch, weight[n], absolute);
    }
    if (square_b.defined()) AddPower(square_b, gn.sum(0, false, at::kFloat), weight[n], absolute);
  }
}

void SquaredLayerNormGradient(const at::Tensor& g, const at::Tensor& normalized, std::span<const int32_t> cu_rows,
                              std::span<const float> weight, bool absolute, const at::Tensor& square_gamma,
                              const at::Tensor& square_beta) {
  for (size_t n = 0; n < weight.size(); ++n) {
    const int64_t rows = cu_rows[n + 1] - cu_rows[n];
    if (rows == 0) continue;
    const at::Tensor gn = g.narrow(0, cu_rows[n], rows).to(at::kFloat);
    AddPower(square_gamma, (gn * normalized.narrow(0, cu_rows[n], rows).to(at::kFloat)).sum(0), weight[n], absolute);
    AddPower(square_beta, gn.sum(0), weight[n], absolute);
  }
}

void SquaredEmbeddingGradient(const at::Tensor& g, const at::Tensor& index, std::span<const int32_t> cu_rows,
                              std::span<const float> weight, bool absolute, const at::Tensor& square_table) {
  const at::Tensor host = index.cpu();
  const int32_t* id = host.const_data_ptr<int32_t>();
  for (size_t n = 0; n < weight.size(); ++n) {
    const int64_t first = cu_rows[n], rows = cu_rows[n + 1] - cu_rows[n];
    std::vector<int32_t> unique(id + first, id + first + rows);
    std::sort(unique.begin(), unique.end());
    unique.erase(std::unique(unique.begin(), unique.end()), unique.end());
    at::Tensor place = at::empty({rows}, at::kLong),
               table_rows = at::empty({static_cast<int64_t>(unique.size())}, at::kLong);
    std::copy(unique.begin(), unique.end(), table_rows.mutable_data_ptr<int64_t>());
    for (int64_t t = 0; t < rows; ++t) {
      place.mutable_data_ptr<int64_t>()[t] =
          std::lower_bound(unique.begin(), unique.end(), id[first + t]) - unique.begin();
    }
    at::Tensor sums = at::zeros({static_cast<int64_t>(unique.size()), g.size(1)}, g.options().dtype(at::kFloat));
    sums.index_add_(0, place.to(g.device()), g.narrow(0, first, rows).to(at::kFloat));
    const at::Tensor powers = absolute ? sums.abs() : sums.square();
    square_table.index_add_(0, table_rows.to(g.device()), powers, weight[n]);
  }
}

}  // namespace

void SetSquaredGradient(OpTable& table) {
  table.squared_linear_gradient = SquaredLinearGradient;
  table.squared_layer_norm_gradient = SquaredLayerNormGradient;
  table.squared_embedding_gradient = SquaredEmbeddingGradient;
}

}  // namespace engram::nn::ops::reference
