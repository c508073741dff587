// The Fisher information of a linear layer (docs/ewc.md): the squared gradient of each sequence, summed over sequences.

#include <algorithm>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/TensorOperators.h"
#include "ATen/native/CPUBlas.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/empty_like.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/zeros.h"
#include "core/nn/kernels/isa.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::cpu {
namespace {

using kernels::Element, kernels::Kernels, kernels::Panel;

// total += weight * gradient^2, or weight * |gradient|.
void AddPower(const at::Tensor& total, const at::Tensor& gradient, float weight, bool absolute) {
  if (absolute) {
    total.add_(gradient.abs(), weight);
  } else {
    total.addcmul_(gradient, gradient, weight);
  }
}

void SquaredLinearGradientBySequence(const at::Tensor& g, const at::Tensor& x, std::span<const int32_t> cu_rows,
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
  const int32_t* id = index.const_data_ptr<int32_t>();
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
    sums.index_add_(0, place, g.narrow(0, first, rows).to(at::kFloat));
    const at::Tensor powers = absolute ? sums.abs() : sums.square();
    square_table.index_add_(0, table_rows, powers, weight[n]);
  }
}

// Of one block of the weight's rows: it stays in the cache over all sequences, together with the product of one, where
// a pass over the whole matrix for each sequence would go to memory three times.
constexpr int64_t kBlockElements = 1 << 16;

// total [o, i] += sum_n weight[n] * (g_n^T x_n)^2, or * |g_n^T x_n| if `absolute`. fp32, contiguous. Blocks are fixed, and
// each is summed in the order of the sequences: the result does not depend on the number of threads.
void AddSquaredProducts(const at::Tensor& g, const at::Tensor& x, std::span<const int32_t> cu_rows,
                        std::span<const float> weight, bool absolute, const at::Tensor& total) {
  const int64_t outputs = g.size(1), inputs = x.size(1);
  const int64_t block_rows = std::clamp<int64_t>(kBlockElements / inputs, 1, outputs);
  int64_t longest = 0;
  for (size_t n = 0; n < weight.size(); ++n) longest = std::max<int64_t>(longest, cu_rows[n + 1] - cu_rows[n]);
  const int64_t padded = (longest + 15) / 16 * 16;
  const float *gradients = g.const_data_ptr<float>(), *rows_of_x = x.const_data_ptr<float>();
  float* out = total.mutable_data_ptr<float>();
  at::parallel_for(0, (outputs + block_rows - 1) / block_rows, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> transposed(static_cast<size_t>(block_rows * padded));
    std::vector<float> product(static_cast<size_t>(block_rows * inputs));
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * block_rows, rows = std::min(block_rows, outputs - first);
      for (size_t n = 0; n < weight.size(); ++n) {
        const int64_t start = cu_rows[n], length = cu_rows[n + 1] - start, stride = (length + 15) / 16 * 16;
        if (length == 0) continue;
        Kernels().fill_panel(Element::kFloat32, Panel::kLeftTransposed,
                             {gradients + start * outputs + first, outputs, length, stride, rows, transposed.data()});
        at::native::cpublas::brgemm(rows, inputs, length, stride, inputs, inputs, false, transposed.data(),
                                    rows_of_x + start * inputs, product.data(), /*is_vnni=*/false);
        Kernels().add_powers(rows * inputs, product.data(), weight[n], absolute, out + first * inputs);
      }
    }
    at::native::cpublas::brgemm_release();
  });
}

void SquaredLinearGradient(const at::Tensor& g, const at::Tensor& x, std::span<const int32_t> cu_rows,
                           std::span<const float> weight, bool absolute, const at::Tensor& square_w,
                           const at::Tensor& square_b) {
  const bool blocked = square_w.defined() && g.scalar_type() == at::kFloat;
  if (blocked) AddSquaredProducts(g.contiguous(), x.contiguous(), cu_rows, weight, absolute, square_w);
  SquaredLinearGradientBySequence(g, x, cu_rows, weight, absolute, blocked ? at::Tensor() : square_w, square_b);
}

}  // namespace

void SetSquaredGradient(OpTable& table) {
  table.squared_linear_gradient = SquaredLinearGradient;
  table.squared_layer_norm_gradient = SquaredLayerNormGradient;
  table.squared_embedding_gradient = SquaredEmbeddingGradient;
}

}  // namespace engram::nn::ops::cpu
