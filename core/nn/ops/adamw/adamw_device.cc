#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/empty.h"
#include "core/nn/cuda/device_ops.h"
#include "core/nn/cuda/run.h"
#include "core/nn/ops/adamw/adamw_body.h"

namespace engram::nn::cuda {
namespace {

// The ranges on the device, and the blocks that they are cut into.
struct FlatRanges {
  FlatRanges(std::span<const ops::ElementRange> ranges, at::Device device) {
    std::vector<int64_t> rows;
    for (const ops::ElementRange& range : ranges) {
      if (range.begin >= range.end) continue;
      rows.insert(rows.end(), {blocks, range.begin, range.end, range.decay ? 1 : 0});
      blocks += Blocks(range.end - range.begin, kFlatElements);
      ++count;
    }
    table = CopyOf(rows, device);
  }
  const FlatRange* data() const { return static_cast<const FlatRange*>(table.const_data_ptr()); }

  at::Tensor table;
  int64_t blocks = 0, count = 0;
};
static_assert(sizeof(FlatRange) == 4 * sizeof(int64_t));

at::Tensor Doubles(at::IntArrayRef shape, const at::Tensor& like) {
  return at::empty(shape, like.options().dtype(at::kDouble));
}

std::vector<double> AdamWStep(const ops::AdamWArguments& a) {
  std::vector<size_t> acting;  // those of strength 0 take no part at all
  for (size_t p = 0; p < a.penalties.size(); ++p) {
    if (a.penalties[p].strength != 0) acting.push_back(p);
  }
  if (acting.size() > kMostPenalties) return Twins().adamw_step(a);
  const FlatRanges ranges(a.ranges, a.weights.device());
  const auto t = static_cast<double>(a.step);
  const at::Tensor parts = Doubles({ranges.blocks, static_cast<int64_t>(acting.size())}, a.weights);
  AdamWBody body{};
  body.weights = Write<float>(a.weights);
  body.first_moment = Write<float>(a.first_moment);
  body.second_moment = Write<float>(a.second_moment);
  body.gradients = Read<float>(a.gradients);
  body.compute = Write<BFloat16>(a.compute);
  body.ranges = ranges.data();
  body.range_count = ranges.count;
  for (const size_t p : acting) {
    const ops::AdamWPenalty& penalty = a.penalties[p];
    body.penalties[body.penalty_count++] = {Read<float>(penalty.importance),
                                            Read<float>(penalty.anchor),
                                            penalty.begin,
                                            penalty.end,
                                            static_cast<float>(penalty.strength),
                                            static_cast<float>(a.lr * penalty.strength),
                                            static_cast<float>(penalty.proximal_above)};
  }
  body.values = Write<double>(parts);
  body.gradient_scale = static_cast<float>(a.gradient_scale);
  body.keep = static_cast<float>(1 - a.lr * a.weight_decay);
  body.beta1 = static_cast<float>(a.beta1);
  body.one_minus_beta1 = static_cast<float>(1 - a.beta1);
  body.beta2 = static_cast<float>(a.beta2);
  body.one_minus_beta2 = static_cast<float>(1 - a.beta2);
  body.step_size = static_cast<float>(a.lr / (1 - std::pow(a.beta1, t)));
  body.root_correction2 = static_cast<float>(std::sqrt(1 - std::pow(a.beta2, t)));
  body.epsilon = static_cast<float>(a.epsilon);
  Run(body, {ranges.blocks, kMostWarps}, a.weights);
  std::vector<double> values(a.penalties.size());
  if (acting.empty()) return values;
  const at::Tensor sums = parts.sum(0).cpu();
  for (size_t i = 0; i < acting.size(); ++i) values[acting[i]] = 0.5 * sums.const_data_ptr<double>()[i];
  return values;
}

double GradientNorm(const at::Tensor& gradients, std::span<const ops::ElementRange> ranges) {
  const FlatRanges flat(ranges, gradients.device());
  const at::Tensor sums = Doubles({flat.blocks}, gradients);
  Run(SumOfSquaresBody{Read<float>(gradients), flat.data(), flat.count, Write<double>(sums)}, {flat.blocks, kMostWarps},
      gradients);
  return std::sqrt(sums.sum().item<double>());
}

}  // namespace

void SetAdamW(ops::OpTable& table) {
  table.adamw_step = AdamWStep;
  table.gradient_norm = GradientNorm;
}

}  // namespace engram::nn::cuda
