#include "core/train/penalty_share.h"

#include <algorithm>
#include <cmath>

#include "ATen/TensorOperators.h"
#include "ATen/ops/zeros_like.h"

namespace engram::train {
namespace {

constexpr int64_t kLooks = 8;
constexpr int64_t kPiece = 1 << 20;  // elements

// The square of the norm over [begin, end).
double SquareOf(const at::Tensor& weights, std::span<const QuadraticPenalty> penalties, int64_t begin, int64_t end) {
  const at::Tensor here = weights.narrow(0, begin, end - begin);
  at::Tensor sum = at::zeros_like(here);
  for (const QuadraticPenalty& penalty : penalties) {
    const int64_t from = std::max(begin, penalty.begin), to = std::min(end, penalty.end);
    if (penalty.strength == 0 || from >= to) continue;
    const at::Tensor away =
        here.narrow(0, from - begin, to - from) - penalty.anchor.narrow(0, from - penalty.begin, to - from);
    sum.narrow(0, from - begin, to - from)
        .addcmul_(penalty.importance.narrow(0, from - penalty.begin, to - from), away, penalty.strength);
  }
  return sum.to(at::kDouble).square().sum().item<double>();
}

}  // namespace

bool LooksAtPenalty(int64_t step, int64_t total) { return (step + 1) * kLooks / total != step * kLooks / total; }

double PenaltyGradientNorm(const at::Tensor& weights, std::span<const QuadraticPenalty> penalties,
                           std::span<const nn::ops::ElementRange> ranges) {
  double squares = 0;
  for (const nn::ops::ElementRange& range : ranges) {
    for (int64_t begin = range.begin; begin < range.end; begin += kPiece)
      squares += SquareOf(weights, penalties, begin, std::min(range.end, begin + kPiece));
  }
  return std::sqrt(squares);
}

}  // namespace engram::train
