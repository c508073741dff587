#include "core/nn/ops/rotary/rotary.h"

#include "core/nn/ops/op_table.h"

namespace engram::nn::ops {

void Rotate(const at::Tensor& rows, int64_t heads, int64_t head_dim, const at::Tensor& table, const at::Tensor& index,
            bool transposed) {
  OpsFor(rows.device()).rotate(rows, heads, head_dim, table, index, transposed);
}

}  // namespace engram::nn::ops
