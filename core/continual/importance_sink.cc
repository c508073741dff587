#include "core/continual/importance_sink.h"

#include <algorithm>
#include <utility>

#include "ATen/ops/zeros_like.h"
#include "core/nn/ops/embedding/embedding.h"
#include "core/nn/ops/linear/linear.h"
#include "core/nn/ops/squared_gradient/squared_gradient.h"

namespace engram::continual {

using nn::SlotId;

ImportanceSink::ImportanceSink(const nn::ParameterBuffer& parameters, at::Tensor importance,
                               std::vector<SlotId> shared_slots, bool absolute)
    : parameters_(parameters),
      importance_(std::move(importance)),
      shared_slots_(std::move(shared_slots)),
      absolute_(absolute) {}

bool ImportanceSink::Covered(SlotId slot) const {
  return slot >= 0 && parameters_.slice(slot).offset + parameters_.slice(slot).size <= importance_.numel();
}

bool ImportanceSink::Shared(SlotId slot) const {
  return std::find(shared_slots_.begin(), shared_slots_.end(), slot) != shared_slots_.end();
}

at::Tensor ImportanceSink::View(SlotId first, int count) const {
  return nn::StackedView(importance_, {&parameters_.slice(first), static_cast<size_t>(count)});
}

void ImportanceSink::Linear(SlotId weight, SlotId bias, int count, const at::Tensor& a, const at::Tensor& g,
                            const nn::RowOwners& rows) {
  if (Shared(weight)) {
    shared_uses_.push_back({weight, a, at::Tensor(), g, {rows.host_cu_rows.begin(), rows.host_cu_rows.end()}});
    if (bias >= 0) Bias(bias, g, rows);
    return;
  }
  const at::Tensor square_w = Covered(weight) ? View(weight, count) : at::Tensor();
  const at::Tensor square_b = Covered(bias) ? View(bias, count) : at::Tensor();
  if (!square_w.defined() && !square_b.defined()) return;
  nn::ops::SquaredLinearGradient(g, a, rows.host_cu_rows, weights_, absolute_, square_w, square_b);
}

void ImportanceSink::LayerNorm(SlotId gamma, SlotId beta, const at::Tensor& normalized, const at::Tensor& g,
                               const nn::RowOwners& rows) {
  if (!Covered(gamma)) return;
  nn::ops::SquaredLayerNormGradient(g, normalized, rows.host_cu_rows, weights_, absolute_, View(gamma, 1),
                                    beta >= 0 ? View(beta, 1) : at::Tensor());
}

void ImportanceSink::Embedding(SlotId table, const at::Tensor& index, const at::Tensor& g, const nn::RowOwners& rows) {
  if (!Covered(table)) return;
  if (Shared(table)) {
    shared_uses_.push_back({table, at::Tensor(), index, g, {rows.host_cu_rows.begin(), rows.host_cu_rows.end()}});
    return;
  }
  nn::ops::SquaredEmbeddingGradient(g, index, rows.host_cu_rows, weights_, absolute_, View(table, 1));
}

void ImportanceSink::Bias(SlotId bias, const at::Tensor& g, const nn::RowOwners& rows) {
  if (!Covered(bias)) return;
  nn::ops::SquaredLinearGradient(g, at::Tensor(), rows.host_cu_rows, weights_, absolute_, at::Tensor(), View(bias, 1));
}

void ImportanceSink::EndBatch() {
  for (SlotId slot : shared_slots_) {
    if (!Covered(slot)) continue;
    const at::Tensor total = View(slot, 1);
    for (size_t sequence = 0; sequence < weights_.size(); ++sequence) {
      at::Tensor sum = at::zeros_like(total);
      bool used = false;
      for (const SharedUse& use : shared_uses_) {
        if (use.slot != slot) continue;
        const int64_t first = use.cu_rows[sequence], rows = use.cu_rows[sequence + 1] - first;
        if (rows == 0) continue;
        used = true;
        const at::Tensor g = use.g.narrow(0, first, rows);
        if (use.index.defined()) {
          nn::ops::EmbeddingWeightGradient(g, use.index.narrow(0, first, rows), sum);
        } else {
          nn::ops::LinearWeightGradient(g, use.a.narrow(0, first, rows), sum, at::Tensor());
        }
      }
      if (!used) continue;
      if (absolute_) {
        total.add_(sum.abs_(), weights_[sequence]);
      } else {
        total.addcmul_(sum, sum, weights_[sequence]);
      }
    }
  }
  shared_uses_.clear();
}

}  // namespace engram::continual
