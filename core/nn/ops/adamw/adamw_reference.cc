#include <algorithm>
#include <cmath>
#include <optional>

#include "ATen/TensorOperators.h"
#include "ATen/ops/linalg_vector_norm.h"
#include "ATen/ops/where.h"
#include "ATen/ops/zeros_like.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::reference {
namespace {

// The part of one penalty that lies in one range.
struct Overlap {
  at::Tensor weights, importance, anchor;
  int64_t shift;  // from the range's first element to the part's
};

std::optional<Overlap> OverlapOf(const AdamWPenalty& penalty, const ElementRange& range, const at::Tensor& weights) {
  const int64_t begin = std::max(range.begin, penalty.begin), size = std::min(range.end, penalty.end) - begin;
  if (penalty.strength == 0 || size <= 0) return std::nullopt;
  return Overlap{weights.narrow(0, begin, size), penalty.importance.narrow(0, begin - penalty.begin, size),
                 penalty.anchor.narrow(0, begin - penalty.begin, size), begin - range.begin};
}

// Adds the penalty's pull to `gradient` (of the range) where the gradient takes it; returns the penalty's value.
double AddPenaltyGradient(const AdamWPenalty& penalty, double lr, const Overlap& part, const at::Tensor& gradient) {
  const at::Tensor d = part.weights.sub(part.anchor);
  const double value = 0.5 * penalty.strength * part.importance.to(at::kDouble).mul_(d).mul_(d).sum().item<double>();
  at::Tensor pull = part.importance.mul(penalty.strength).mul_(d);
  if (std::isfinite(penalty.proximal_above)) {
    pull.masked_fill_(part.importance.mul(lr * penalty.strength).gt(penalty.proximal_above), 0);
  }
  gradient.narrow(0, part.shift, pull.numel()).add_(pull);
  return value;
}

// The implicit step of all penalties that take one, together.
void ProximalStep(const AdamWArguments& a, const ElementRange& range, const at::Tensor& w) {
  at::Tensor pull = at::zeros_like(w), weight = at::zeros_like(w);
  for (const AdamWPenalty& penalty : a.penalties) {
    const std::optional<Overlap> part = OverlapOf(penalty, range, a.weights);
    if (!part || !std::isfinite(penalty.proximal_above)) continue;
    const at::Tensor k = part->importance.mul(a.lr * penalty.strength).clamp_max_(1e30);  // keeps the pull finite
    const at::Tensor taken = at::where(k.gt(penalty.proximal_above), k, at::zeros_like(k));
    pull.narrow(0, part->shift, k.numel()).add_(part->anchor.sub(part->weights).mul_(taken));
    weight.narrow(0, part->shift, k.numel()).add_(taken);
  }
  w.add_(pull.div_(weight.add_(1)));
}

std::vector<double> AdamWStep(const AdamWArguments& a) {
  const double correction1 = 1 - std::pow(a.beta1, a.step), correction2 = 1 - std::pow(a.beta2, a.step);
  std::vector<double> values(a.penalties.size());
  for (const ElementRange& range : a.ranges) {
    const auto part = [&](const at::Tensor& all) { return all.narrow(0, range.begin, range.end - range.begin); };
    const at::Tensor w = part(a.weights), m = part(a.first_moment), v = part(a.second_moment);
    const at::Tensor g = part(a.gradients).mul(a.gradient_scale);
    for (size_t p = 0; p < a.penalties.size(); ++p) {
      const std::optional<Overlap> overlap = OverlapOf(a.penalties[p], range, a.weights);
      if (overlap) values[p] += AddPenaltyGradient(a.penalties[p], a.lr, *overlap, g);
    }
    if (range.decay) w.mul_(1 - a.lr * a.weight_decay);
    m.mul_(a.beta1).add_(g, 1 - a.beta1);
    v.mul_(a.beta2).addcmul_(g, g, 1 - a.beta2);
    const at::Tensor denominator = v.sqrt().div_(std::sqrt(correction2)).add_(a.epsilon);
    w.addcdiv_(m, denominator, -a.lr / correction1);
    if (!a.penalties.empty()) ProximalStep(a, range, w);
    if (a.compute.defined()) part(a.compute).copy_(w);
  }
  return values;
}

double GradientNorm(const at::Tensor& gradients, std::span<const ElementRange> ranges) {
  double sum = 0;
  for (const ElementRange& range : ranges) {
    const at::Tensor part = gradients.narrow(0, range.begin, range.end - range.begin);
    const double norm = at::linalg_vector_norm(part, 2, std::nullopt, false, at::kDouble).item<double>();
    sum += norm * norm;
  }
  return std::sqrt(sum);
}

}  // namespace

void SetAdamW(OpTable& table) {
  table.adamw_step = AdamWStep;
  table.gradient_norm = GradientNorm;
}

}  // namespace engram::nn::ops::reference
