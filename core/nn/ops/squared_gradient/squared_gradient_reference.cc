// No call here is made for one sequence: sequences of about one length are multiplied at once, and what is summed over rows
// is summed by segments.

#include <algorithm>
#include <map>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/bmm.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/floor_divide.h"
#include "ATen/ops/index_select.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/segment_reduce.h"
#include "ATen/ops/sort.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "core/nn/ops/implementations.h"
#include "core/nn/ops/op_table.h"

namespace engram::nn::ops::reference {
namespace {

template <typename T>
at::Tensor OnDevice(const std::vector<T>& values, at::ScalarType dtype, at::Device device) {
  return at::tensor(values, dtype).to(device);
}

at::Tensor Weights(std::span<const float> weight, at::Device device) {
  return OnDevice(std::vector<float>(weight.begin(), weight.end()), at::kFloat, device);
}

// Squares, or absolute values, times the weights of their first dimension, summed over it.
at::Tensor WeightedPowers(const at::Tensor& sums, const at::Tensor& weight, bool absolute) {
  const at::Tensor powers = absolute ? sums.abs() : sums.square();
  return at::mm(weight.unsqueeze(0), powers.flatten(1)).view(sums.sizes().slice(1));
}

// Sums of the rows of each sequence that has some, and those sequences' weights.
struct SequenceSums {
  SequenceSums(const at::Tensor& rows, std::span<const int32_t> cu_rows, std::span<const float> weight) {
    std::vector<int64_t> offsets = {cu_rows.front()};
    std::vector<float> own;
    for (size_t n = 0; n < weight.size(); ++n) {
      if (cu_rows[n + 1] == cu_rows[n]) continue;
      offsets.push_back(cu_rows[n + 1]);
      own.push_back(weight[n]);
    }
    sums = at::segment_reduce(rows.to(at::kFloat).contiguous(), "sum", std::nullopt, std::nullopt,
                              OnDevice(offsets, at::kLong, rows.device()), 0, /*unsafe=*/true);
    weights = OnDevice(own, at::kFloat, rows.device());
  }
  at::Tensor sums, weights;
};

// Sequences of up to `rows` rows, about as many each.
struct Group {
  int64_t rows = 0;
  std::vector<size_t> sequences;
};

// Groups whose products, `elements` numbers for each sequence, stay below 2^24 numbers.
std::vector<Group> GroupsOf(std::span<const int32_t> cu_rows, int64_t elements) {
  std::map<int64_t, std::vector<size_t>> by_rows;
  for (size_t n = 0; n + 1 < cu_rows.size(); ++n) {
    const int64_t rows = cu_rows[n + 1] - cu_rows[n];
    if (rows > 0) by_rows[(rows + 15) / 16 * 16].push_back(n);
  }
  const auto most = static_cast<size_t>(std::max<int64_t>(1, (int64_t{1} << 24) / elements));
  std::vector<Group> groups;
  for (const auto& [rows, sequences] : by_rows) {
    for (size_t first = 0; first < sequences.size(); first += most) {
      const auto begin = sequences.begin() + static_cast<int64_t>(first);
      groups.push_back({rows, {begin, begin + static_cast<int64_t>(std::min(most, sequences.size() - first))}});
    }
  }
  return groups;
}

void AddSquaredProducts(const at::Tensor& g, const at::Tensor& x, std::span<const int32_t> cu_rows,
                        std::span<const float> weight, bool absolute, const at::Tensor& total) {
  // Row T is one of zeros, which fills up shorter sequences.
  const auto with_zeros = [](const at::Tensor& rows) {
    return at::cat({rows.to(at::kFloat), at::zeros({1, rows.size(1)}, rows.options().dtype(at::kFloat))});
  };
  const at::Tensor outputs = with_zeros(g), inputs = with_zeros(x);
  for (const Group& group : GroupsOf(cu_rows, total.numel())) {
    std::vector<int64_t> index;
    std::vector<float> weights;
    for (const size_t n : group.sequences) {
      for (int64_t t = cu_rows[n]; t < cu_rows[n] + group.rows; ++t)
        index.push_back(t < cu_rows[n + 1] ? t : g.size(0));
      weights.push_back(weight[n]);
    }
    const at::Tensor rows = OnDevice(index, at::kLong, g.device());
    const auto gathered = [&](const at::Tensor& from) {
      return at::index_select(from, 0, rows).view({static_cast<int64_t>(weights.size()), group.rows, from.size(1)});
    };
    const at::Tensor products = at::bmm(gathered(outputs).transpose(1, 2), gathered(inputs));
    total.add_(WeightedPowers(products, OnDevice(weights, at::kFloat, g.device()), absolute));
  }
}

void SquaredLinearGradient(const at::Tensor& g, const at::Tensor& x, std::span<const int32_t> cu_rows,
                           std::span<const float> weight, bool absolute, const at::Tensor& square_w,
                           const at::Tensor& square_b) {
  if (cu_rows.back() == cu_rows.front()) return;
  if (square_w.defined()) AddSquaredProducts(g, x, cu_rows, weight, absolute, square_w);
  if (!square_b.defined()) return;
  const SequenceSums of(g, cu_rows, weight);
  square_b.add_(WeightedPowers(of.sums, of.weights, absolute));
}

void SquaredLayerNormGradient(const at::Tensor& g, const at::Tensor& normalized, std::span<const int32_t> cu_rows,
                              std::span<const float> weight, bool absolute, const at::Tensor& square_gamma,
                              const at::Tensor& square_beta) {
  if (cu_rows.back() == cu_rows.front()) return;
  const SequenceSums gamma(g.to(at::kFloat) * normalized.to(at::kFloat), cu_rows, weight), beta(g, cu_rows, weight);
  square_gamma.add_(WeightedPowers(gamma.sums, gamma.weights, absolute));
  square_beta.add_(WeightedPowers(beta.sums, beta.weights, absolute));
}

// Rows that one sequence reads from one row of the table come next to each other by sorting, and are summed as a run; nothing
// is read back, so there are as many places for runs as there are rows.
void SquaredEmbeddingGradient(const at::Tensor& g, const at::Tensor& index, std::span<const int32_t> cu_rows,
                              std::span<const float> weight, bool absolute, const at::Tensor& square_table) {
  const int64_t rows = g.size(0), sequences = static_cast<int64_t>(weight.size());
  if (rows == 0) return;
  std::vector<int64_t> owner;
  for (size_t n = 0; n + 1 < cu_rows.size(); ++n)
    owner.resize(static_cast<size_t>(cu_rows[n + 1]), static_cast<int64_t>(n));
  const at::Tensor key = index.to(at::kLong) * sequences + OnDevice(owner, at::kLong, g.device());
  const auto [sorted, order] = at::sort(key, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  const at::Tensor begins = at::cat({at::ones({1}, sorted.options()),
                                     (sorted.narrow(0, 1, rows - 1) != sorted.narrow(0, 0, rows - 1)).to(at::kLong)});
  const at::Tensor run = begins.cumsum(0) - 1;
  at::Tensor sums = at::zeros({rows, g.size(1)}, g.options().dtype(at::kFloat));
  sums.index_add_(0, run, at::index_select(g, 0, order).to(at::kFloat));
  at::Tensor key_of_run = at::zeros({rows}, sorted.options());
  key_of_run.index_copy_(0, run, sorted);
  // Places without a run hold zeros, of which the powers are zeros.
  const at::Tensor weights = at::index_select(Weights(weight, g.device()), 0, key_of_run % sequences);
  const at::Tensor powers = absolute ? sums.abs() : sums.square();
  square_table.index_add_(0, at::floor_divide(key_of_run, sequences), powers * weights.unsqueeze(1));
}

}  // namespace

void SetSquaredGradient(OpTable& table) {
  table.squared_linear_gradient = SquaredLinearGradient;
  table.squared_layer_norm_gradient = SquaredLayerNormGradient;
  table.squared_embedding_gradient = SquaredEmbeddingGradient;
}

}  // namespace engram::nn::ops::reference
