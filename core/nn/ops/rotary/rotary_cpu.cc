#include "ATen/Dispatch.h"
#include "ATen/Parallel.h"
#include "core/nn/kernels/tensor_rows.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::cpu {
namespace {

template <typename T>
void RotateHead(T* first, const float* cosines, const float* sines, int64_t pairs, float sign) {
  T* second = first + pairs;
  for (int64_t j = 0; j < pairs; ++j) {
    const float a = first[j], b = second[j], s = sign * sines[j];
    first[j] = static_cast<T>(a * cosines[j] - b * s);
    second[j] = static_cast<T>(b * cosines[j] + a * s);
  }
}

template <typename T>
void RotateRows(T* rows, int64_t stride, int64_t count, int64_t heads, int64_t head_dim, const at::Tensor& table,
                const int32_t* index, float sign) {
  const int64_t pairs = table.size(1) / 2;
  const float* angles = table.const_data_ptr<float>();
  at::parallel_for(0, count, kernels::kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* row = angles + int64_t{index[t]} * 2 * pairs;
      for (int64_t h = 0; h < heads; ++h) RotateHead(rows + t * stride + h * head_dim, row, row + pairs, pairs, sign);
    }
  });
}

void Rotate(const at::Tensor& rows, int64_t heads, int64_t head_dim, const at::Tensor& table, const at::Tensor& index,
            bool transposed) {
  const float sign = transposed ? -1.0F : 1.0F;
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, rows.scalar_type(), "rotate", [&] {
    RotateRows(rows.mutable_data_ptr<scalar_t>(), rows.stride(0), rows.size(0), heads, head_dim, table,
               index.const_data_ptr<int32_t>(), sign);
  });
}

}  // namespace

void SetRotary(OpTable& table) { table.rotate = Rotate; }

}  // namespace engram::nn::ops::cpu
