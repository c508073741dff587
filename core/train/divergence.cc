#include "core/train/divergence.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace engram::train {
namespace {

constexpr double kExplosionFactor = 10;
constexpr int kSuspiciousSteps = 3;
constexpr size_t kWindow = 50;

absl::Status Diverged(int64_t step, std::string_view cause) {
  return StatusWithReason(absl::StatusCode::kAborted, "TRAINING_DIVERGED",
                          absl::StrCat("training diverged at step ", step, ": ", AbslView(cause),
                                       "; lower lr, raise warmup_ratio, or lower max_grad_norm"));
}

double Median(const std::deque<double>& window) {
  std::vector<double> values(window.begin(), window.end());
  auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

DivergenceDetector::DivergenceDetector(double guessing_loss) : floor_(std::max(1.0, guessing_loss)) {}

absl::Status DivergenceDetector::Check(int64_t step, double loss, double gradient_norm) {
  if (!std::isfinite(loss))
    return Diverged(step, std::isnan(loss) ? "the loss is not a number" : "the loss is infinite");
  if (!std::isfinite(gradient_norm)) {
    return Diverged(step, std::isnan(gradient_norm) ? "a gradient is not a number" : "a gradient is infinite");
  }
  if (first_ < 0) first_ = loss;
  const double reference = std::max({floor_, first_, window_.empty() ? 0.0 : Median(window_)});
  if (loss > kExplosionFactor * reference) {
    if (++suspicious_ < kSuspiciousSteps) return absl::OkStatus();
    return Diverged(step,
                    absl::StrCat("the loss rose to ", loss, ", more than ", kExplosionFactor, " times the ", reference,
                                 " that it was measured against, in ", kSuspiciousSteps, " steps running"));
  }
  suspicious_ = 0;
  window_.push_back(loss);
  if (window_.size() > kWindow) window_.pop_front();
  return absl::OkStatus();
}

absl::Status CheckLastWeights(int64_t step, double largest) {
  return std::isfinite(largest) ? absl::OkStatus() : Diverged(step, "a weight is not finite");
}

std::vector<double> DivergenceDetector::State() const {
  std::vector<double> state = {first_, static_cast<double>(suspicious_)};
  state.insert(state.end(), window_.begin(), window_.end());
  return state;
}

void DivergenceDetector::Restore(const std::vector<double>& state) {
  if (state.size() < 2) return;
  first_ = state[0];
  suspicious_ = static_cast<int>(state[1]);
  window_.assign(state.begin() + 2, state.end());
}

}  // namespace engram::train
