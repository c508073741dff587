#include "ATen/Parallel.h"
#include "ATen/ops/empty_like.h"
#include "core/nn/kernels/tensor_rows.h"
#include "core/nn/ops/dropout/dropout_keep.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::cpu {
namespace {

using kernels::Bytes, kernels::IsBf16, kernels::Kernels, kernels::kRowGrain, kernels::MutableBytes;

at::Tensor ApplyDropout(const at::Tensor& x, const Dropout& dropout) {
  if (!dropout.active()) return x;
  const at::Tensor from = x.contiguous();
  const int64_t width = from.size(-1), rows = from.numel() / width, row_bytes = width * from.element_size();
  at::Tensor out = at::empty_like(from);
  at::parallel_for(0, rows, kRowGrain, [&](int64_t begin, int64_t end) {
    RowMask mask(dropout, width);
    for (int64_t t = begin; t < end; ++t) {
      Kernels().apply_dropout(width, Bytes(from) + t * row_bytes, mask.Row(t), mask.scale(),
                              MutableBytes(out) + t * row_bytes, IsBf16(x));
    }
  });
  return out;
}

}  // namespace

void SetDropout(OpTable& table) { table.apply_dropout = ApplyDropout; }

}  // namespace engram::nn::ops::cpu
