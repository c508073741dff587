#include <tuple>

#include "ATen/TensorOperators.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/sort.h"
#include "core/nn/cuda/device_ops.h"
#include "core/nn/cuda/run.h"
#include "core/nn/ops/embedding/embedding_body.h"

namespace engram::nn::cuda {
namespace {

template <typename T>
EmbeddingTable<T> TableOf(const at::Tensor& table, const at::Tensor& index, int64_t shift) {
  if (!table.defined()) return {};
  return {Read<T>(table), Read<int32_t>(index), shift, table.size(0)};
}

at::Tensor EmbeddingSum(const PackedBatch& batch, const at::Tensor& word, const at::Tensor& type,
                        const at::Tensor& position, int64_t first_position) {
  const int64_t width = word.size(1);
  at::Tensor out = at::empty({batch.tokens(), width}, word.options());
  ForElements(word.scalar_type(), [&]<typename T>(T) {
    Run(EmbeddingSumBody<T>{TableOf<T>(word, batch.ids, 0), TableOf<T>(position, batch.positions, first_position),
                            TableOf<T>(type, batch.type_ids, 0), Write<T>(out), width},
        {batch.tokens(), WarpsFor(width)}, out);
  });
  return out;
}

void EmbeddingWeightGradient(const at::Tensor& g, const at::Tensor& index, const at::Tensor& grad_table) {
  constexpr int64_t kFewRows = 16;  // of which each is read so often that a run would take one block too long
  if (grad_table.size(0) <= kFewRows) {
    const at::Tensor rows = at::arange(grad_table.size(0), index.options());
    grad_table.add_(at::mm((rows.unsqueeze(1) == index.unsqueeze(0)).to(at::kFloat), g.to(at::kFloat)));
    return;
  }
  AddRuns(g, index.to(at::kLong), {}, false, grad_table);
}

}  // namespace

void AddRuns(const at::Tensor& g, const at::Tensor& ids, const DeviceRows& rows, bool absolute,
             const at::Tensor& table) {
  constexpr int64_t kIdShift = int64_t{1} << 32;
  const at::Tensor keys = rows.owner.defined() ? ids * kIdShift + rows.owner : ids * kIdShift;
  const std::tuple<at::Tensor, at::Tensor> by_key = at::sort(keys, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  const at::Tensor &sorted = std::get<0>(by_key), &order = std::get<1>(by_key);
  const at::Tensor from = g.contiguous();
  const int64_t width = from.size(1);
  ForElements(from.scalar_type(), [&]<typename T>(T) {
    Run(RunSumsBody<T>{Read<T>(from), Read<int64_t>(sorted), Read<int64_t>(order), Read<float>(rows.weight), absolute,
                       Write<float>(table), from.size(0), width},
        {from.size(0), WarpsFor(width)}, from);
  });
}

void SetEmbedding(ops::OpTable& table) {
  table.embedding_sum = EmbeddingSum;
  table.embedding_weight_gradient = EmbeddingWeightGradient;
}

}  // namespace engram::nn::cuda
