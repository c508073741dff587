#include "core/nn/text_windows.h"

#include "ATen/ops/mm.h"
#include "ATen/ops/zeros.h"

namespace engram::nn {

std::vector<WindowGroup> GroupWindows(const PackedBatch& batch, int64_t most_tokens) {
  std::vector<WindowGroup> groups;
  int64_t tokens = 0;
  for (int64_t i = 0; i < batch.sequences(); ++i) {
    if (groups.empty() || tokens + batch.length(i) > most_tokens) {
      groups.push_back({i, 0});
      tokens = 0;
    }
    ++groups.back().count;
    tokens += batch.length(i);
  }
  return groups;
}

at::Tensor TextShares(const PackedBatch& batch) {
  at::Tensor shares = at::zeros({batch.texts(), batch.sequences()}, at::kFloat);
  float* row = shares.mutable_data_ptr<float>();
  for (int64_t text = 0; text < batch.texts(); ++text, row += batch.sequences()) {
    for (int32_t i = batch.host_cu_texts[text]; i < batch.host_cu_texts[text + 1]; ++i) row[i] = batch.text_shares[i];
  }
  return shares.to(batch.cu_seqlens.device());
}

at::Tensor TextMeans(const at::Tensor& rows, const PackedBatch& batch) {
  if (batch.host_cu_texts.empty()) return rows;
  return at::mm(TextShares(batch), rows.to(at::kFloat));
}

std::optional<TrainingMode> ModeOfGroup(const std::optional<TrainingMode>& mode, size_t group) {
  constexpr uint64_t kApart = 0x9E3779B97F4A7C15;  // odd: no two groups share a seed
  if (!mode) return std::nullopt;
  return TrainingMode{mode->seed + kApart * group, mode->step};
}

}  // namespace engram::nn
