#include "core/train/strategy.h"

#include "absl/strings/str_cat.h"

namespace engram::train {

std::shared_ptr<const nn::Model> TaskSetup::Frozen() {
  if (frozen_ == nullptr) frozen_ = model.Clone();
  return frozen_;
}

absl::StatusOr<at::Tensor> StrategyState::Tensor(const std::string& name, const at::Tensor& like) const {
  const auto found = tensors.find(name);
  if (found == tensors.end() || found->second.sizes() != like.sizes() ||
      found->second.scalar_type() != like.scalar_type()) {
    return StatusWithReason(
        absl::StatusCode::kDataLoss, "CHECKPOINT_DAMAGED",
        absl::StrCat("the run's checkpoint is damaged (strategy.", name, "); start the task again"));
  }
  return found->second.to(like.device());
}

}  // namespace engram::train
