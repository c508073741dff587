#include "core/nn/layers/pass.h"

#include <utility>

namespace engram::nn {

ops::Dropout DropoutAt(const std::optional<TrainingMode>& mode, double probability, uint32_t site) {
  if (!mode || probability <= 0) return {};
  return {static_cast<float>(probability), mode->seed, mode->step, site};
}

at::Tensor Take(at::Tensor& tensor) { return std::exchange(tensor, at::Tensor()); }

at::Tensor BackwardPass::ThroughBlocks(size_t layer, BlockSite site, at::Tensor& g) const {
  if (blocks == nullptr) return {};
  const BlockSiteTape& own = block_sites[layer * kBlockSites + static_cast<size_t>(site)];
  TaskBlocks::Gradient gradient = blocks->Backward(layer, site, g, own, rows, sink);
  g = std::move(gradient.y);
  return std::move(gradient.x);
}

}  // namespace engram::nn
