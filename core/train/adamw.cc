#include "core/train/adamw.h"

#include <algorithm>
#include <limits>

#include "ATen/ops/zeros_like.h"

namespace engram::train {
namespace {

// k above which the proximal step takes a weight.
double ProximalAbove(PenaltyMode mode) {
  switch (mode) {
    case PenaltyMode::kCoupled:
      return std::numeric_limits<double>::infinity();
    case PenaltyMode::kProximal:
      return -1;
    case PenaltyMode::kAuto:
      break;
  }
  return 2;
}

}  // namespace

std::vector<ElementRange> RangesOf(const nn::ParameterBuffer& parameters, std::span<const nn::SlotId> slots) {
  std::vector<nn::SlotId> sorted(slots.begin(), slots.end());
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  std::vector<ElementRange> ranges;
  for (const nn::SlotId slot : sorted) {
    const nn::ParameterSlice& slice = parameters.slice(slot);
    if (!ranges.empty() && ranges.back().end == slice.offset && ranges.back().decay == slice.decay) {
      ranges.back().end += slice.size;
    } else {
      ranges.push_back({slice.offset, slice.offset + slice.size, slice.decay});
    }
  }
  return ranges;
}

double GradientNorm(const nn::ParameterBuffer& parameters, std::span<const ElementRange> ranges) {
  return nn::ops::GradientNorm(parameters.gradients(), ranges);
}

double ClipScale(double norm, double max_norm) {
  if (max_norm == 0) return 1.0;
  return std::min(1.0, max_norm / (norm + 1e-6));
}

AdamW::AdamW(nn::ParameterBuffer* parameters, std::span<const nn::SlotId> trainable, const AdamWOptions& options)
    : parameters_(parameters),
      options_(options),
      trainable_(trainable.begin(), trainable.end()),
      ranges_(RangesOf(*parameters, trainable)),
      groups_{{1, ranges_}},
      first_moment_(at::zeros_like(parameters->weights())),
      second_moment_(at::zeros_like(parameters->weights())) {}

void AdamW::SetLearningRateScales(const std::map<nn::SlotId, double>& scales) {
  if (scales == scales_) return;
  scales_ = scales;
  std::map<double, std::vector<nn::SlotId>> slots;
  std::vector<nn::SlotId> moving;
  for (const nn::SlotId slot : trainable_) {
    const auto found = scales.find(slot);
    const double scale = found == scales.end() ? 1 : found->second;
    if (scale == 0) continue;
    slots[scale].push_back(slot);
    moving.push_back(slot);
  }
  ranges_ = RangesOf(*parameters_, moving);
  groups_.clear();
  for (const auto& [scale, of_scale] : slots) groups_.push_back({scale, RangesOf(*parameters_, of_scale)});
}

std::vector<double> AdamW::Step(double lr, double gradient_scale, std::span<const QuadraticPenalty> penalties) {
  std::vector<nn::ops::AdamWPenalty> terms;
  for (const QuadraticPenalty& penalty : penalties) {
    terms.push_back({penalty.importance, penalty.anchor, penalty.begin, penalty.end, penalty.strength,
                     ProximalAbove(penalty.mode)});
  }
  const bool rounded = parameters_->precision() == nn::Precision::kBFloat16;
  ++steps_;
  std::vector<double> values(penalties.size(), 0.0);
  for (const Group& group : groups_) {
    const std::vector<double> own = nn::ops::AdamWStep({.weights = parameters_->weights(),
                                                        .first_moment = first_moment_,
                                                        .second_moment = second_moment_,
                                                        .gradients = parameters_->gradients(),
                                                        .compute = rounded ? parameters_->compute() : at::Tensor(),
                                                        .ranges = group.ranges,
                                                        .penalties = terms,
                                                        .step = steps_,
                                                        .lr = lr * group.scale,
                                                        .gradient_scale = gradient_scale,
                                                        .beta1 = options_.beta1,
                                                        .beta2 = options_.beta2,
                                                        .epsilon = options_.epsilon,
                                                        .weight_decay = options_.weight_decay});
    for (size_t i = 0; i < values.size(); ++i) values[i] += own[i];
  }
  return values;
}

void AdamW::Restore(int64_t steps, const at::Tensor& first_moment, const at::Tensor& second_moment) {
  steps_ = steps;
  first_moment_.copy_(first_moment);
  second_moment_.copy_(second_moment);
}

}  // namespace engram::train
