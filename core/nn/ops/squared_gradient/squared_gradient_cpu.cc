// The Fisher information of a linear layer (docs/ewc.md): the squared gradient of each sequence, summed over sequences.

#include <algorithm>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/native/CPUBlas.h"
#include "core/nn/kernels/isa.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::cpu {
namespace {

using kernels::Element, kernels::Kernels, kernels::Panel;

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
  ReferenceOps().squared_linear_gradient(g, x, cu_rows, weight, absolute, blocked ? at::Tensor() : square_w, square_b);
}

}  // namespace

void SetSquaredGradient(OpTable& table) { table.squared_linear_gradient = SquaredLinearGradient; }

}  // namespace engram::nn::ops::cpu
