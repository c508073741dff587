#include <algorithm>
#include <cmath>

#include "ATen/Parallel.h"
#include "core/nn/ops/adamw/adamw_kernels.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::cpu {
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

// The raw memory and the numbers of one step.
struct StepView {
  float *weights, *first_moment, *second_moment;
  const float* gradients;
  uint16_t* compute;  // bf16 copy or null
  AdamWBlock update;
  float keep, gradient_scale;
  double lr;
  std::span<const AdamWPenalty> penalties;
};

// The part of `penalty` that lies in [begin, end); count <= 0: none.
PenaltyBlock PenaltyIn(const AdamWPenalty& penalty, double lr, int64_t begin, int64_t end) {
  const int64_t first = std::max(begin, penalty.begin);
  return {std::min(end, penalty.end) - first,
          penalty.importance.const_data_ptr<float>() + (first - penalty.begin),
          penalty.anchor.const_data_ptr<float>() + (first - penalty.begin),
          static_cast<float>(penalty.strength),
          static_cast<float>(lr * penalty.strength),
          static_cast<float>(penalty.proximal_above)};
}

bool ActsOn(const AdamWPenalty& penalty, int64_t begin, int64_t end) {
  return penalty.strength != 0 && penalty.begin < end && penalty.end > begin;
}

// The implicit step of all penalties that take one, together: one after the other the last task would win.
void ProximalBlock(const StepView& view, int64_t begin, int64_t end, float* w) {
  float pull[kBlock] = {}, weight[kBlock] = {};
  for (const AdamWPenalty& penalty : view.penalties) {
    if (!ActsOn(penalty, begin, end)) continue;
    const int64_t shift = std::max<int64_t>(0, penalty.begin - begin);
    AddProximal(PenaltyIn(penalty, view.lr, begin, end), w + shift, pull + shift, weight + shift);
  }
  ProximalStep(end - begin, pull, weight, w);
}

// One block of at most kBlock elements; adds twice each penalty's value to values[penalty].
void StepBlock(const StepView& view, int64_t begin, int64_t end, bool decay, double* values) {
  float gradient[kBlock];
  float* w = view.weights + begin;
  Scale(end - begin, view.gradients + begin, view.gradient_scale, gradient);
  bool proximal = false;
  for (size_t p = 0; p < view.penalties.size(); ++p) {
    const AdamWPenalty& penalty = view.penalties[p];
    if (!ActsOn(penalty, begin, end)) continue;
    const int64_t shift = std::max<int64_t>(0, penalty.begin - begin);
    const PenaltyBlock block = PenaltyIn(penalty, view.lr, begin, end);
    const PenaltySum sum = AddPenaltyGradient(block, w + shift, gradient + shift);
    values[p] += sum.sum;
    proximal = proximal || block.step_strength * sum.largest_importance > block.threshold;
  }
  AdamWBlock update = view.update;
  update.count = end - begin;
  update.keep = decay ? view.keep : 1.0F;
  AdamWUpdate(update, gradient, w, view.first_moment + begin, view.second_moment + begin);
  if (proximal) ProximalBlock(view, begin, end, w);
  if (view.compute != nullptr) RoundToBFloat16(end - begin, w, view.compute + begin);
}

std::vector<double> StepChunks(const StepView& view, std::span<const ElementRange> ranges) {
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

std::vector<double> AdamWStep(const AdamWArguments& a) {
  const auto t = static_cast<double>(a.step);
  const double correction1 = 1 - std::pow(a.beta1, t), correction2 = 1 - std::pow(a.beta2, t);
  const StepView view{
      a.weights.mutable_data_ptr<float>(),
      a.first_moment.mutable_data_ptr<float>(),
      a.second_moment.mutable_data_ptr<float>(),
      a.gradients.const_data_ptr<float>(),
      a.compute.defined() ? static_cast<uint16_t*>(a.compute.mutable_data_ptr()) : nullptr,
      {0, 1.0F, static_cast<float>(a.beta1), static_cast<float>(1 - a.beta1), static_cast<float>(a.beta2),
       static_cast<float>(1 - a.beta2), static_cast<float>(a.lr / correction1),
       static_cast<float>(std::sqrt(correction2)), static_cast<float>(a.epsilon)},
      static_cast<float>(1 - a.lr * a.weight_decay),
      static_cast<float>(a.gradient_scale),
      a.lr,
      a.penalties};
  return StepChunks(view, a.ranges);
}

double GradientNorm(const at::Tensor& gradients, std::span<const ElementRange> ranges) {
  const std::vector<Chunk> chunks = ChunksOf(ranges);
  std::vector<double> parts(chunks.size());
  const float* g = gradients.const_data_ptr<float>();
  at::parallel_for(0, static_cast<int64_t>(chunks.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c)
      parts[c] = SumOfSquares(chunks[c].end - chunks[c].begin, g + chunks[c].begin);
  });
  double sum = 0;
  for (const double part : parts) sum += part;
  return std::sqrt(sum);
}

}  // namespace

void SetAdamW(OpTable& table) {
  table.adamw_step = AdamWStep;
  table.gradient_norm = GradientNorm;
}

}  // namespace engram::nn::ops::cpu
