#include "core/nn/kernels/tensor_rows.h"

#include <algorithm>

#include "ATen/Parallel.h"
#include "core/nn/kernels/isa.h"

namespace engram::nn::kernels {

void ColumnSums(const at::Tensor& g, const at::Tensor& normalized, const at::Tensor& sum_g,
                const at::Tensor& sum_product) {
  const int64_t rows = g.size(0), width = g.size(1), element = g.element_size();
  at::parallel_for(0, (width + kColumnGrain - 1) / kColumnGrain, 1, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kColumnGrain, count = std::min(width, end * kColumnGrain) - first;
    Kernels().column_sums(
        {rows, count, width, Bytes(g) + first * element,
         normalized.defined() ? Bytes(normalized) + first * element : nullptr, sum_g.mutable_data_ptr<float>() + first,
         normalized.defined() ? sum_product.mutable_data_ptr<float>() + first : nullptr},
        IsBf16(g));
  });
}

}  // namespace engram::nn::kernels
