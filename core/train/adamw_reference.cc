// AdamWStepReference: the optimizer step in plain ATen operations.

#include <algorithm>
#include <cmath>

#include "ATen/ops/where.h"
#include "ATen/ops/zeros_like.h"
#include "core/train/adamw.h"

namespace engram::train {
namespace {

// Where the proximal step takes a weight, as a mask; undefined: nowhere.
at::Tensor ProximalMask(const QuadraticPenalty& penalty, const at::Tensor& k) {
  if (penalty.mode == PenaltyMode::kCoupled) return {};
  return penalty.mode == PenaltyMode::kProximal ? k.ge(0) : k.gt(2);
}

// The part of one penalty that lies in one range.
struct Overlap {
  at::Tensor weights, importance, anchor, gradient;
};

std::optional<Overlap> OverlapOf(const QuadraticPenalty& penalty, const ElementRange& range, const at::Tensor& weights,
                                 const at::Tensor& gradient) {
  const int64_t begin = std::max(range.begin, penalty.begin), size = std::min(range.end, penalty.end) - begin;
  if (penalty.strength == 0 || size <= 0) return std::nullopt;
  return Overlap{weights.narrow(0, begin, size), penalty.importance.narrow(0, begin - penalty.begin, size),
                 penalty.anchor.narrow(0, begin - penalty.begin, size), gradient.narrow(0, begin - range.begin, size)};
}

}  // namespace

std::vector<double> AdamWStepReference(nn::ParameterBuffer& parameters, std::span<const ElementRange> ranges,
                                       const at::Tensor& first_moment, const at::Tensor& second_moment,
                                       const AdamWStepConstants& constants,
                                       std::span<const QuadraticPenalty> penalties) {
  const AdamWOptions& o = constants.options;
  const at::Tensor& weights = parameters.weights();
  std::vector<double> values(penalties.size());
  for (const ElementRange& range : ranges) {
    const int64_t size = range.end - range.begin;
    at::Tensor w = weights.narrow(0, range.begin, size);
    at::Tensor m = first_moment.narrow(0, range.begin, size), v = second_moment.narrow(0, range.begin, size);
    at::Tensor g = parameters.gradients().narrow(0, range.begin, size).mul(constants.gradient_scale);
    for (size_t p = 0; p < penalties.size(); ++p) {
      std::optional<Overlap> part = OverlapOf(penalties[p], range, weights, g);
      if (!part) continue;
      const at::Tensor d = part->weights.sub(part->anchor);
      values[p] += 0.5 * penalties[p].strength * part->importance.to(at::kDouble).mul_(d).mul_(d).sum().item<double>();
      at::Tensor pull = part->importance.mul(penalties[p].strength).mul_(d);
      const at::Tensor mask = ProximalMask(penalties[p], part->importance.mul(constants.lr * penalties[p].strength));
      if (mask.defined()) pull.masked_fill_(mask, 0);
      part->gradient.add_(pull);
    }
    if (range.decay) w.mul_(1 - constants.lr * o.weight_decay);
    m.mul_(o.beta1).add_(g, 1 - o.beta1);
    v.mul_(o.beta2).addcmul_(g, g, 1 - o.beta2);
    const at::Tensor denominator = v.sqrt().div_(std::sqrt(constants.bias_correction2)).add_(o.epsilon);
    w.addcdiv_(m, denominator, -constants.lr / constants.bias_correction1);
    if (penalties.empty()) continue;
    at::Tensor pull = at::zeros_like(w), weight = at::zeros_like(w);
    for (const QuadraticPenalty& penalty : penalties) {
      std::optional<Overlap> part = OverlapOf(penalty, range, weights, g);
      if (!part) continue;
      const at::Tensor k = part->importance.mul(constants.lr * penalty.strength).clamp_max_(1e30);
      const at::Tensor mask = ProximalMask(penalty, k);
      if (!mask.defined()) continue;
      const at::Tensor taken = at::where(mask, k, at::zeros_like(k));
      const int64_t shift = std::max(range.begin, penalty.begin) - range.begin;
      pull.narrow(0, shift, k.numel()).add_(part->anchor.sub(part->weights).mul_(taken));
      weight.narrow(0, shift, k.numel()).add_(taken);
    }
    w.add_(pull.div_(weight.add_(1)));
  }
  parameters.RefreshCompute();
  return values;
}

}  // namespace engram::train
