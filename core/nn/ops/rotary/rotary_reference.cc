#include "ATen/TensorOperators.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/index_select.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::reference {
namespace {

void Rotate(const at::Tensor& rows, int64_t heads, int64_t head_dim, const at::Tensor& table, const at::Tensor& index,
            bool transposed) {
  const int64_t pairs = table.size(1) / 2;
  at::Tensor turned = rows.narrow(1, 0, heads * head_dim).view({rows.size(0), heads, head_dim}).narrow(2, 0, 2 * pairs);
  const at::Tensor angles = at::index_select(table, 0, index).unsqueeze(1);
  const at::Tensor c = angles.narrow(2, 0, pairs), s = angles.narrow(2, pairs, pairs) * (transposed ? -1.0 : 1.0);
  const at::Tensor first = turned.narrow(2, 0, pairs).to(at::kFloat),
                   second = turned.narrow(2, pairs, pairs).to(at::kFloat);
  turned.copy_(at::cat({first * c - second * s, second * c + first * s}, 2));
}

}  // namespace

void SetRotary(OpTable& table) { table.rotate = Rotate; }

}  // namespace engram::nn::ops::reference
