#include "core/train/adamw.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ATen/Parallel.h"
#include "ATen/ops/linalg_vector_norm.h"
#include "ATen/ops/zeros_like.h"
#include "core/train/adamw_kernels.h"

namespace engram::train {
namespace {

// Work is cut into chunks of this many elements whatever the number of threads; a chunk runs through the cache in
// blocks.
constexpr int64_t kChunk = 1 << 16;
constexpr int64_t kBlock = 1 << 12;

struct Chunk {
  int64_t begin, end;
  bool decay;
};

std::vector<Chunk> ChunksOf(std::span<const ElementRange> ranges) {
  std::vector<Chunk> chunks;
  for (const ElementRange& range : ranges) {
    for (int64_t begin = range.begin; begin < range.end; begin += kChunk) {
      chunks.push_back({begin, std::min(range.end, begin + kChunk), range.decay});
    }
  }
  return chunks;
}

// k above which the proximal step takes a weight.
float ProximalThreshold(PenaltyMode mode) {
  switch (mode) {
    case PenaltyMode::kCoupled:
      return std::numeric_limits<float>::infinity();
    case PenaltyMode::kProximal:
      return -1.0F;
    case PenaltyMode::kAuto:
      break;
  }
  return 2.0F;
}

// The raw memory and the numbers of one step.
struct StepView {
  float *weights, *first_moment, *second_moment;
  const float* gradients;
  uint16_t* compute;  // bf16 copy or null
  kernels::AdamWBlock update;
  float keep, gradient_scale;
  double lr;
  std::span<const QuadraticPenalty> penalties;
};

// The part of `penalty` that lies in [begin, end); count <= 0: none.
kernels::PenaltyBlock PenaltyIn(const QuadraticPenalty& penalty, double lr, int64_t begin, int64_t end) {
  const int64_t first = std::max(begin, penalty.begin);
  return {std::min(end, penalty.end) - first,
          penalty.importance.const_data_ptr<float>() + (first - penalty.begin),
          penalty.anchor.const_data_ptr<float>() + (first - penalty.begin),
          static_cast<float>(penalty.strength),
          static_cast<float>(lr * penalty.strength),
          ProximalThreshold(penalty.mode)};
}

bool ActsOn(const QuadraticPenalty& penalty, int64_t begin, int64_t end) {
  return penalty.strength != 0 && penalty.begin < end && penalty.end > begin;
}

// The implicit step of all penalties that take one, together: one after the other the last task would win.
void ProximalBlock(const StepView& view, int64_t begin, int64_t end, float* w) {
  float pull[kBlock] = {}, weight[kBlock] = {};
  for (const QuadraticPenalty& penalty : view.penalties) {
    if (!ActsOn(penalty, begin, end)) continue;
    const int64_t shift = std::max<int64_t>(0, penalty.begin - begin);
    kernels::AddProximal(PenaltyIn(penalty, view.lr, begin, end), w + shift, pull + shift, weight + shift);
  }
  kernels::ProximalStep(end - begin, pull, weight, w);
}

// One block of at most kBlock elements; adds twice each penalty's value to values[penalty].
void StepBlock(const StepView& view, int64_t begin, int64_t end, bool decay, double* values) {
  float gradient[kBlock];
  float* w = view.weights + begin;
  kernels::Scale(end - begin, view.gradients + begin, view.gradient_scale, gradient);
  bool proximal = false;
  for (size_t p = 0; p < view.penalties.size(); ++p) {
    const QuadraticPenalty& penalty = view.penalties[p];
    if (!ActsOn(penalty, begin, end)) continue;
    const int64_t shift = std::max<int64_t>(0, penalty.begin - begin);
    const kernels::PenaltyBlock block = PenaltyIn(penalty, view.lr, begin, end);
    const kernels::PenaltySum sum = kernels::AddPenaltyGradient(block, w + shift, gradient + shift);
    values[p] += sum.sum;
    proximal = proximal || block.step_strength * sum.largest_importance > block.threshold;
  }
  kernels::AdamWBlock update = view.update;
  update.count = end - begin;
  update.keep = decay ? view.keep : 1.0F;
  kernels::AdamWUpdate(update, gradient, w, view.first_moment + begin, view.second_moment + begin);
  if (proximal) ProximalBlock(view, begin, end, w);
  if (view.compute != nullptr) kernels::RoundToBFloat16(end - begin, w, view.compute + begin);
}

std::vector<double> StepOnCpu(const StepView& view, std::span<const ElementRange> ranges) {
  const std::vector<Chunk> chunks = ChunksOf(ranges);
  const size_t count = view.penalties.size();
  std::vector<double> parts(chunks.size() * count);
  at::parallel_for(0, static_cast<int64_t>(chunks.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c) {
      const Chunk& chunk = chunks[c];
      for (int64_t begin = chunk.begin; begin < chunk.end; begin += kBlock) {
        StepBlock(view, begin, std::min(chunk.end, begin + kBlock), chunk.decay, parts.data() + c * count);
      }
    }
  });
  std::vector<double> values(count);
  for (size_t c = 0; c < chunks.size(); ++c) {
    for (size_t p = 0; p < count; ++p) values[p] += parts[c * count + p];
  }
  for (double& value : values) value *= 0.5;
  return values;
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
  const at::Tensor& gradients = parameters.gradients();
  double sum = 0;
  if (!gradients.is_cpu()) {
    for (const ElementRange& range : ranges) {
      const at::Tensor part = gradients.narrow(0, range.begin, range.end - range.begin);
      const double norm = at::linalg_vector_norm(part, 2, std::nullopt, false, at::kDouble).item<double>();
      sum += norm * norm;
    }
    return std::sqrt(sum);
  }
  const std::vector<Chunk> chunks = ChunksOf(ranges);
  std::vector<double> parts(chunks.size());
  const float* g = gradients.const_data_ptr<float>();
  at::parallel_for(0, static_cast<int64_t>(chunks.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c)
      parts[c] = kernels::SumOfSquares(chunks[c].end - chunks[c].begin, g + chunks[c].begin);
  });
  for (const double part : parts) sum += part;
  return std::sqrt(sum);
}

double ClipScale(double norm, double max_norm) {
  if (max_norm == 0) return 1.0;
  return std::min(1.0, max_norm / (norm + 1e-6));
}

AdamW::AdamW(nn::ParameterBuffer* parameters, std::span<const nn::SlotId> trainable, const AdamWOptions& options)
    : parameters_(parameters),
      options_(options),
      ranges_(RangesOf(*parameters, trainable)),
      first_moment_(at::zeros_like(parameters->weights())),
      second_moment_(at::zeros_like(parameters->weights())) {}

std::vector<double> AdamW::Step(double lr, double gradient_scale, std::span<const QuadraticPenalty> penalties) {
  ++steps_;
  const double t = static_cast<double>(steps_);
  const AdamWStepConstants constants{lr, gradient_scale, 1 - std::pow(options_.beta1, t),
                                     1 - std::pow(options_.beta2, t), options_};
  if (!parameters_->weights().is_cpu()) {
    return AdamWStepReference(*parameters_, ranges_, first_moment_, second_moment_, constants, penalties);
  }
  const bool bf16 = parameters_->precision() == nn::Precision::kBFloat16;
  const StepView view{parameters_->weights().mutable_data_ptr<float>(),
                      first_moment_.mutable_data_ptr<float>(),
                      second_moment_.mutable_data_ptr<float>(),
                      parameters_->gradients().const_data_ptr<float>(),
                      bf16 ? static_cast<uint16_t*>(parameters_->compute().mutable_data_ptr()) : nullptr,
                      {0, 1.0F, static_cast<float>(options_.beta1), static_cast<float>(1 - options_.beta1),
                       static_cast<float>(options_.beta2), static_cast<float>(1 - options_.beta2),
                       static_cast<float>(lr / constants.bias_correction1),
                       static_cast<float>(std::sqrt(constants.bias_correction2)), static_cast<float>(options_.epsilon)},
                      static_cast<float>(1 - lr * options_.weight_decay),
                      static_cast<float>(gradient_scale),
                      lr,
                      penalties};
  return StepOnCpu(view, ranges_);
}

void AdamW::Restore(int64_t steps, const at::Tensor& first_moment, const at::Tensor& second_moment) {
  steps_ = steps;
  first_moment_.copy_(first_moment);
  second_moment_.copy_(second_moment);
}

}  // namespace engram::train
