#include "core/continual/kronecker.h"

#include <algorithm>
#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/checkpoint/tensor_names.h"
#include "core/continual/low_rank.h"

namespace engram::continual {
namespace {

using checkpoint::TensorRole;
using nn::SlotId;

bool IsLayerMatrix(const checkpoint::ExpectedTensor& tensor) {
  if (tensor.bias || tensor.shape.size() != 2) return false;
  switch (tensor.role) {
    case TensorRole::kQuery:
    case TensorRole::kKey:
    case TensorRole::kValue:
    case TensorRole::kAttentionOutput:
    case TensorRole::kIntermediate:
    case TensorRole::kOutput:
      return true;
    default:
      return false;
  }
}

// One row for each sequence: the sums, or means, of its rows. fp32.
at::Tensor ByText(const at::Tensor& x, const nn::RowOwners& rows, bool mean) {
  const auto texts = static_cast<int64_t>(rows.host_cu_rows.size()) - 1;
  at::Tensor out = at::zeros({texts, x.size(1)}, x.options().dtype(at::kFloat));
  for (int64_t n = 0; n < texts; ++n) {
    const int64_t first = rows.host_cu_rows[n], count = rows.host_cu_rows[n + 1] - first;
    if (count == 0) continue;
    const at::Tensor own = x.narrow(0, first, count).to(at::kFloat);
    out.select(0, n).copy_(mean ? own.mean(0) : own.sum(0));
  }
  return out;
}

// [W, b] (or W alone) of a flat tensor.
at::Tensor WithBias(const nn::ParameterBuffer& parameters, SlotId matrix, SlotId bias, const at::Tensor& flat) {
  const nn::ParameterSlice& w = parameters.slice(matrix);
  const at::Tensor weight = flat.narrow(0, w.offset, w.size).view(w.shape);
  if (bias < 0) return weight;
  const nn::ParameterSlice& b = parameters.slice(bias);
  return at::cat({weight, flat.narrow(0, b.offset, b.size).unsqueeze(1)}, 1);
}

}  // namespace

std::vector<SlotId> LayerMatrices(const nn::Model& model) {
  std::vector<SlotId> matrices;
  for (const checkpoint::ExpectedTensor& tensor : checkpoint::EncoderTensors(model.config())) {
    if (!IsLayerMatrix(tensor)) continue;
    if (const SlotId slot = model.parameters().Find(tensor.name); slot >= 0) matrices.push_back(slot);
  }
  std::sort(matrices.begin(), matrices.end());
  return matrices;
}

SlotId BiasOf(const nn::ParameterBuffer& parameters, SlotId matrix) {
  const std::string& name = parameters.slice(matrix).name;
  return parameters.Find(absl::StrCat(absl::StripSuffix(name, "weight"), "bias"));
}

KroneckerSink::KroneckerSink(const nn::Model& model, TokenSharing sharing)
    : parameters_(model.parameters()), matrices_(LayerMatrices(model)), sharing_(sharing) {}

void KroneckerSink::Linear(SlotId weight, SlotId bias, int count, const at::Tensor& a, const at::Tensor& g,
                           const nn::RowOwners& rows) {
  if (!std::binary_search(matrices_.begin(), matrices_.end(), weight)) return;
  const bool reduce = sharing_ == TokenSharing::kReduce;
  at::Tensor x = reduce ? ByText(a, rows, /*mean=*/true) : a.to(at::kFloat);
  const at::Tensor gradient = reduce ? ByText(g, rows, /*mean=*/false) : g.to(at::kFloat);
  if (bias >= 0) x = at::cat({x, at::ones({x.size(0), 1}, x.options())}, 1);
  Sum& sum = sums_[weight];
  if (!sum.inputs.defined()) {
    sum.inputs = at::zeros({x.size(1), x.size(1)}, x.options());
    for (int i = 0; i < count; ++i) {
      const int64_t height = parameters_.slice(weight + i).shape[0];
      sum.gradients.push_back(at::zeros({height, height}, x.options()));
    }
  }
  sum.inputs.addmm_(x.t(), x);
  sum.rows += x.size(0);
  int64_t first = 0;
  for (at::Tensor& own : sum.gradients) {
    const at::Tensor part = gradient.narrow(1, first, own.size(0));
    own.addmm_(part.t(), part);
    first += own.size(0);
  }
}

LayerFactors KroneckerSink::Finish(int64_t texts) const {
  LayerFactors factors;
  for (const auto& [matrix, sum] : sums_) {
    const at::Tensor inputs = sum.inputs / static_cast<double>(sum.rows);
    for (size_t i = 0; i < sum.gradients.size(); ++i)
      factors[matrix + static_cast<SlotId>(i)] = {inputs, sum.gradients[i] / static_cast<double>(texts)};
  }
  return factors;
}

double AddKroneckerGradient(const nn::ParameterBuffer& parameters, SlotId matrix, const KroneckerFactors& factors,
                            const at::Tensor& weights, const at::Tensor& anchor, double factor, at::Tensor& gradients) {
  const nn::ParameterSlice& w = parameters.slice(matrix);
  const SlotId bias = factors.inputs.size(0) > w.shape[1] ? BiasOf(parameters, matrix) : -1;
  const at::Tensor moved = WithBias(parameters, matrix, bias, weights) - WithBias(parameters, matrix, bias, anchor);
  const at::Tensor pull = at::mm(at::mm(factors.gradients, moved), factors.inputs);
  gradients.narrow(0, w.offset, w.size).view(w.shape).add_(pull.narrow(1, 0, w.shape[1]), 2 * factor);
  if (bias >= 0) {
    const nn::ParameterSlice& b = parameters.slice(bias);
    gradients.narrow(0, b.offset, b.size).add_(pull.select(1, w.shape[1]), 2 * factor);
  }
  return (pull * moved).sum(at::kDouble).item<double>();
}

void RememberFactors(const nn::Model& model, const std::string& what, const LayerFactors& factors,
                     train::VersionMemory& memory) {
  at::Tensor last;
  for (const auto& [matrix, of_layer] : factors) {
    const std::string& name = model.parameters().slice(matrix).name;
    if (!last.is_same(of_layer.inputs)) memory.tensors[absl::StrCat(what, ".inputs.", name)] = of_layer.inputs.cpu();
    memory.tensors[absl::StrCat(what, ".gradients.", name)] = of_layer.gradients.cpu();
    last = of_layer.inputs;
  }
}

absl::StatusOr<LayerFactors> RecallFactors(const nn::Model& model, const std::string& what,
                                           const train::VersionMemory& memory) {
  const nn::ParameterBuffer& parameters = model.parameters();
  LayerFactors factors;
  at::Tensor inputs;
  for (const SlotId matrix : LayerMatrices(model)) {
    const nn::ParameterSlice& slice = parameters.slice(matrix);
    const std::string name = absl::StrCat(what, ".inputs.", slice.name);
    const int64_t height = slice.shape[0];
    const int64_t width = slice.shape[1] + (BiasOf(parameters, matrix) >= 0 ? 1 : 0);
    // One that has none of its own shares that of the matrix before it.
    if (memory.tensors.contains(name) || !inputs.defined() || inputs.size(0) != width) {
      ENGRAM_ASSIGN_OR_RETURN(inputs, StoredMatrix(memory, name, width, width));
      inputs = inputs.to(parameters.device());
    }
    ENGRAM_ASSIGN_OR_RETURN(at::Tensor gradients,
                            StoredMatrix(memory, absl::StrCat(what, ".gradients.", slice.name), height, height));
    factors[matrix] = {inputs, gradients.to(parameters.device())};
  }
  return factors;
}

}  // namespace engram::continual
