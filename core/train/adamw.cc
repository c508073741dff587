#include "core/train/adamw.h"

#include <algorithm>
#include <cmath>

#include "ATen/Parallel.h"
#include "ATen/TensorOperators.h"
#include "ATen/ops/zeros_like.h"

namespace engram::train {
namespace {

// Work is cut into chunks of this many elements whatever the number of threads, so that sums have one order.
constexpr int64_t kChunk = 1 << 14;

struct Chunk {
  int64_t begin, end;
  bool decay;
};

// The numbers of one step that are the same for every element.
struct StepConstants {
  float beta1, beta2, one_minus_beta1, one_minus_beta2, step_size, inverse_sqrt_correction2, eps, scale, keep;
};

// The coupled gradient of one penalty over [begin, end), added to `extra`; returns sum F d^2.
double AddPenaltyGradient(const QuadraticPenalty& penalty, int64_t begin, int64_t end, const float* w, float* extra) {
  const float* f = penalty.importance.const_data_ptr<float>();
  const float* anchor = penalty.anchor.const_data_ptr<float>();
  const float strength = static_cast<float>(penalty.strength);
  const bool coupled = penalty.mode == PenaltyMode::kCoupled;
  double sum = 0;
  for (int64_t i = begin; i < end; ++i) {
    const float d = w[i] - anchor[i];
    sum += static_cast<double>(f[i] * d) * d;
    if (coupled) extra[i - begin] += strength * f[i] * d;
  }
  return sum;
}

void ProximalStep(const QuadraticPenalty& penalty, double learning_rate, int64_t begin, int64_t end, float* w) {
  const float* f = penalty.importance.const_data_ptr<float>();
  const float* anchor = penalty.anchor.const_data_ptr<float>();
  const float factor = static_cast<float>(learning_rate * penalty.strength);
  for (int64_t i = begin; i < end; ++i) {
    const float k = factor * f[i];
    w[i] = (w[i] + k * anchor[i]) / (1.0F + k);
  }
}

// One clone for each instruction set, chosen at load time; the arithmetic is the same (no contraction), so the bits are too.
#define ENGRAM_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))

// The AdamW update of elements [begin, end); `extra` (or null) is added to the scaled gradient.
ENGRAM_CLONES void UpdateChunk(const StepConstants& c, int64_t begin, int64_t end, const float* g, const float* extra, float* w, float* m, float* v) {
  for (int64_t i = begin; i < end; ++i) {
    float gradient = g[i] * c.scale;
    if (extra != nullptr) gradient += extra[i - begin];
    m[i] = c.beta1 * m[i] + c.one_minus_beta1 * gradient;
    v[i] = c.beta2 * v[i] + c.one_minus_beta2 * gradient * gradient;
    w[i] = w[i] * c.keep - c.step_size * m[i] / (std::sqrt(v[i]) * c.inverse_sqrt_correction2 + c.eps);
  }
}

}  // namespace

AdamW::AdamW(nn::ParameterBuffer& parameters, const std::vector<nn::SlotId>& trainable, const AdamWOptions& options)
    : parameters_(parameters), options_(options), m_(at::zeros_like(parameters.weights())), v_(at::zeros_like(parameters.weights())) {
  std::vector<nn::SlotId> sorted = trainable;
  std::sort(sorted.begin(), sorted.end());
  for (const nn::SlotId slot : sorted) {
    const nn::ParameterSlice& slice = parameters.slice(slot);
    if (!ranges_.empty() && ranges_.back().end == slice.offset && ranges_.back().decay == slice.decay) {
      ranges_.back().end += slice.size;
    } else {
      ranges_.push_back({slice.offset, slice.offset + slice.size, slice.decay});
    }
  }
}

double AdamW::GradientNorm() const {
  double sum = 0;
  for (const Range& range : ranges_) {
    const int64_t chunks = (range.end - range.begin + kChunk - 1) / kChunk;
    std::vector<double> sums(static_cast<size_t>(chunks));
    const at::Tensor host = parameters_.gradients().cpu();
    const float* g = host.const_data_ptr<float>();
    at::parallel_for(0, chunks, 4, [&](int64_t first, int64_t last) {
      for (int64_t chunk = first; chunk < last; ++chunk) {
        const int64_t begin = range.begin + chunk * kChunk, end = std::min(range.end, begin + kChunk);
        double lanes[8] = {};
        for (int64_t i = begin; i < end; ++i) lanes[(i - begin) % 8] += static_cast<double>(g[i]) * g[i];
        for (double lane : lanes) sums[static_cast<size_t>(chunk)] += lane;
      }
    });
    for (double part : sums) sum += part;
  }
  return std::sqrt(sum);
}

StepReport AdamW::Step(double learning_rate, double gradient_scale, std::span<const QuadraticPenalty> penalties) {
  ++steps_;
  const double correction1 = 1 - std::pow(options_.beta1, static_cast<double>(steps_));
  const double correction2 = 1 - std::pow(options_.beta2, static_cast<double>(steps_));
  StepConstants constants{static_cast<float>(options_.beta1),
                          static_cast<float>(options_.beta2),
                          static_cast<float>(1 - options_.beta1),
                          static_cast<float>(1 - options_.beta2),
                          static_cast<float>(learning_rate / correction1),
                          static_cast<float>(1 / std::sqrt(correction2)),
                          static_cast<float>(options_.eps),
                          static_cast<float>(gradient_scale),
                          1.0F};
  std::vector<Chunk> chunks;
  for (const Range& range : ranges_) {
    for (int64_t begin = range.begin; begin < range.end; begin += kChunk) chunks.push_back({begin, std::min(range.end, begin + kChunk), range.decay});
  }
  float* w = parameters_.weights().mutable_data_ptr<float>();
  float* m = m_.mutable_data_ptr<float>();
  float* v = v_.mutable_data_ptr<float>();
  const float* g = parameters_.gradients().const_data_ptr<float>();
  std::vector<double> penalty_sums(chunks.size()), movements(chunks.size());
  at::parallel_for(0, static_cast<int64_t>(chunks.size()), 1, [&](int64_t first, int64_t last) {
    std::vector<float> extra(kChunk), before(kChunk);
    for (int64_t index = first; index < last; ++index) {
      const Chunk& chunk = chunks[static_cast<size_t>(index)];
      StepConstants c = constants;
      if (chunk.decay) c.keep = static_cast<float>(1 - learning_rate * options_.weight_decay);
      bool covered = false, coupled = false;
      for (const QuadraticPenalty& penalty : penalties) {
        const int64_t end = std::min(chunk.end, penalty.importance.numel());
        if (penalty.strength == 0 || chunk.begin >= end) continue;
        if (!covered) {
          std::fill(extra.begin(), extra.end(), 0.0F);
          std::copy(w + chunk.begin, w + chunk.end, before.begin());
        }
        covered = true;
        coupled |= penalty.mode == PenaltyMode::kCoupled;
        penalty_sums[index] += 0.5 * penalty.strength * AddPenaltyGradient(penalty, chunk.begin, end, w, extra.data());
      }
      UpdateChunk(c, chunk.begin, chunk.end, g, coupled ? extra.data() : nullptr, w, m, v);
      for (const QuadraticPenalty& penalty : penalties) {
        const int64_t end = std::min(chunk.end, penalty.importance.numel());
        if (penalty.strength == 0 || penalty.mode != PenaltyMode::kProximal || chunk.begin >= end) continue;
        ProximalStep(penalty, learning_rate, chunk.begin, end, w);
      }
      for (int64_t i = 0; covered && i < chunk.end - chunk.begin; ++i) {
        movements[index] = std::max(movements[index], std::abs(static_cast<double>(w[chunk.begin + i]) - before[i]));
      }
    }
  });
  parameters_.RefreshCompute();
  StepReport report;
  for (double part : penalty_sums) report.penalty += part;
  for (double part : movements) report.movement = std::max(report.movement, part);
  return report;
}

void AdamW::Restore(const at::Tensor& first, const at::Tensor& second, int64_t steps) {
  m_.copy_(first);
  v_.copy_(second);
  steps_ = steps;
}

}  // namespace engram::train
