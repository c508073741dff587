#include "core/nn/grow_head.h"

#include <vector>

#include "ATen/core/Tensor.h"

namespace engram::nn {

absl::Status GrowHead(const std::string& task, int64_t labels, uint64_t seed, Model& model) {
  HeadConfig grown = model.heads().at(task);
  grown.labels = labels;
  const std::vector<SlotId> from = model.HeadSlots(task);
  ENGRAM_RETURN_IF_ERROR(model.ReplaceHead(task, grown, seed));
  const std::vector<SlotId> to = model.HeadSlots(task);
  ParameterBuffer& parameters = model.parameters();
  for (size_t i = 0; i < to.size(); ++i) {
    const at::Tensor known = parameters.Weight(from[i]);
    parameters.Weight(to[i]).narrow(0, 0, known.size(0)).copy_(known);
  }
  parameters.RefreshCompute();
  return absl::OkStatus();
}

}  // namespace engram::nn
