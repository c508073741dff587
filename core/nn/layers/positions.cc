#include "core/nn/layers/positions.h"

#include <algorithm>
#include <utility>

#include "ATen/ops/empty.h"
#include "core/nn/ops/rotary/rotary.h"

namespace engram::nn {

using checkpoint::Rope, checkpoint::RopeFrequencies, checkpoint::RopeKind;

std::optional<PositionExtension> ExtensionOf(PositionMode mode) {
  switch (mode) {
    case PositionMode::kHierarchical:
      return PositionExtension::kHierarchical;
    case PositionMode::kGrouped:
      return PositionExtension::kGrouped;
    case PositionMode::kTiled:
      return PositionExtension::kTiled;
    case PositionMode::kInterpolated:
      return PositionExtension::kInterpolated;
    default:
      return std::nullopt;
  }
}

Rope RopeWith(const Rope& rope, const PositionPlan& plan, int64_t length) {
  if (plan.mode == PositionMode::kTrained || ExtensionOf(plan.mode)) return rope;
  Rope planned = rope;
  if (rope.original_positions > 0 && plan.mode != PositionMode::kDynamicYarn)
    planned.max_positions = rope.original_positions;  // the length before the model's own scaling, which is replaced
  if (rope.original_positions == 0) planned.original_positions = rope.max_positions;
  const double stretch = std::max(1.0, static_cast<double>(length) / static_cast<double>(planned.original_positions));
  planned.factor = plan.factor > 0 ? plan.factor : stretch;
  switch (plan.mode) {
    case PositionMode::kLinear:
      planned.kind = RopeKind::kLinear;
      break;
    case PositionMode::kNtkAware:
      planned.kind = RopeKind::kNtkAware;
      break;
    case PositionMode::kDynamic:
      planned.kind = RopeKind::kDynamic;
      planned.factor = std::max(plan.factor, 1.0);  // the length itself is heeded by the formula
      break;
    case PositionMode::kYarn:
      planned.kind = RopeKind::kYarn;
      break;
    default:
      planned.kind = RopeKind::kDynamicYarn;
      planned.finetuned = rope.kind == RopeKind::kYarn || rope.finetuned;
      break;
  }
  return planned;
}

Rotations::Table Rotations::MakeTable(const Rope& rope, const PackedBatch& batch, bool planned) {
  struct Rows {
    RopeFrequencies frequencies;
    int64_t count = 0, first = 0;
  };
  std::vector<Rows> distinct;
  std::vector<size_t> of_sequence;
  for (int64_t i = 0; i < batch.sequences(); ++i) {
    const int64_t length = batch.length(i);
    const PositionPlan plan = planned ? batch.plan(i) : PositionPlan{};
    const bool known = !distinct.empty() && (batch.plans.empty() || !planned) && !DependsOnLength(rope);
    RopeFrequencies frequencies =
        known ? distinct.front().frequencies : FrequenciesOf(RopeWith(rope, plan, length), length);
    auto same = std::find_if(distinct.begin(), distinct.end(),
                             [&](const Rows& rows) { return rows.frequencies == frequencies; });
    if (same == distinct.end()) same = distinct.insert(same, {std::move(frequencies)});
    same->count = std::max(same->count, length);
    of_sequence.push_back(static_cast<size_t>(same - distinct.begin()));
  }
  int64_t total = 0;
  for (Rows& rows : distinct) rows.first = std::exchange(total, total + rows.count);
  const int64_t width = rope.width();
  at::Tensor table = at::empty({total, width}, at::kFloat);
  for (const Rows& rows : distinct)
    FillRopeRows(rows.frequencies, 0, rows.count, table.mutable_data_ptr<float>() + rows.first * width);
  if (distinct.size() <= 1) return {table.to(batch.ids.device()), batch.positions};
  at::Tensor index = batch.positions.clone();
  for (int64_t i = 0; i < batch.sequences(); ++i)
    index.narrow(0, batch.host_cu_seqlens[i], batch.length(i)).add_(distinct[of_sequence[i]].first);
  return {table.to(batch.ids.device()), index};
}

std::optional<Rotations> Rotations::Of(const EncoderConfig& config, const PackedBatch& batch) {
  if (!config.family->rotary()) return std::nullopt;
  Rotations rotations;
  for (size_t i = 0; i < config.ropes.size(); ++i) {
    // Number 1 is that of layers with a window, which see no distance that the training had not: nothing to stretch.
    rotations.tables_.push_back(MakeTable(config.ropes[i], batch, /*planned=*/i == 0));
  }
  return rotations;
}

Rotations Rotations::Rows(int64_t begin, int64_t count) const {
  Rotations rows;
  for (const Table& table : tables_) rows.tables_.push_back({table.rows, table.index.narrow(0, begin, count)});
  return rows;
}

void Rotations::Turn(size_t rope, const at::Tensor& qkv, const ops::AttentionShape& shape, bool transposed) const {
  ops::Rotate(qkv, shape.heads + shape.kv_heads, shape.head_dim, tables_[rope].rows, tables_[rope].index, transposed);
}

}  // namespace engram::nn
