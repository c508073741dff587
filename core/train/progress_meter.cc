#include "core/train/progress_meter.h"

namespace engram::train {

void ProgressMeter::Add(absl::Duration took, int64_t tokens, Progress& progress) {
  seconds_ += absl::ToDoubleSeconds(took);
  tokens_ += tokens;
  ++steps_;
  loss_ += progress.loss;
  ++unreported_steps_;
  progress.mean_loss = loss_ / static_cast<double>(unreported_steps_);
  if (seconds_ <= 0) return;
  progress.tokens_per_second = static_cast<double>(tokens_) / seconds_;
  progress.eta_seconds =
      seconds_ / static_cast<double>(steps_) * static_cast<double>(progress.total_steps - progress.step);
}

void ProgressMeter::Reported() {
  loss_ = 0;
  unreported_steps_ = 0;
}

}  // namespace engram::train
