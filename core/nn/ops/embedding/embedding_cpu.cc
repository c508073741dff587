#include <algorithm>

#include "ATen/Parallel.h"
#include "ATen/ops/empty.h"
#include "c10/util/Exception.h"
#include "core/nn/kernels/isa.h"
#include "core/nn/kernels/tensor_rows.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::cpu {
namespace {

using kernels::Bytes, kernels::IsBf16, kernels::kColumnGrain, kernels::Kernels, kernels::kRowGrain,
    kernels::MutableBytes;

void CheckIndex(const char* name, const int32_t* index, int64_t count, int64_t rows) {
  const auto [least, largest] = std::minmax_element(index, index + count);
  TORCH_CHECK_INDEX(count == 0 || (*least >= 0 && *largest < rows), name, " out of range");
}

at::Tensor EmbeddingSum(const PackedBatch& batch, const at::Tensor& word, const at::Tensor& type,
                        const at::Tensor& position, int64_t first_position) {
  const int64_t width = word.size(1), row_bytes = width * word.element_size();
  at::Tensor out = at::empty({batch.tokens(), width}, word.options());
  const int32_t* ids = batch.ids.const_data_ptr<int32_t>();
  const int32_t* positions = batch.positions.const_data_ptr<int32_t>();
  const int32_t* types = batch.type_ids.const_data_ptr<int32_t>();
  CheckIndex("ids", ids, batch.tokens(), word.size(0));
  if (position.defined()) CheckIndex("positions", positions, batch.tokens(), position.size(0) - first_position);
  if (type.defined()) CheckIndex("type_ids", types, batch.tokens(), type.size(0));
  at::parallel_for(0, batch.tokens(), kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      Kernels().embedding_row(
          {width, Bytes(word) + ids[t] * row_bytes,
           position.defined() ? Bytes(position) + (positions[t] + first_position) * row_bytes : nullptr,
           type.defined() ? Bytes(type) + types[t] * row_bytes : nullptr, MutableBytes(out) + t * row_bytes},
          IsBf16(word));
    }
  });
  return out;
}

void EmbeddingWeightGradient(const at::Tensor& g, const at::Tensor& index, const at::Tensor& grad_table) {
  const at::Tensor g32 = g.to(at::kFloat).contiguous();
  const int64_t rows = g32.size(0), width = g32.size(1);
  const int32_t* id = index.const_data_ptr<int32_t>();
  const float* from = g32.const_data_ptr<float>();
  float* table = grad_table.mutable_data_ptr<float>();
  // Threads own columns, so that repeated ids add up in the order of the rows whatever the number of threads.
  at::parallel_for(0, width, kColumnGrain, [&](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t c = begin; c < end; ++c) table[id[t] * width + c] += from[t * width + c];
    }
  });
}

}  // namespace

void SetEmbedding(OpTable& table) {
  table.embedding_sum = EmbeddingSum;
  table.embedding_weight_gradient = EmbeddingWeightGradient;
}

}  // namespace engram::nn::ops::cpu
