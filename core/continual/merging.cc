#include "core/continual/merging.h"

#include <algorithm>
#include <cmath>

#include "ATen/TensorOperators.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/kthvalue.h"
#include "ATen/ops/linalg_solve.h"
#include "ATen/ops/maximum.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/where.h"
#include "ATen/ops/zeros_like.h"

namespace engram::continual {
namespace {

at::Tensor Sum(std::span<const at::Tensor> vectors) {
  at::Tensor sum = vectors.front().clone();
  for (const at::Tensor& vector : vectors.subspan(1)) sum.add_(vector);
  return sum;
}

at::Tensor Trim(const at::Tensor& vector, double keep) {
  const int64_t size = vector.numel();
  const auto kept = std::clamp<int64_t>(std::llround(keep * static_cast<double>(size)), 1, size);
  const at::Tensor sizes = vector.abs();
  const at::Tensor smallest = std::get<0>(at::kthvalue(sizes, size - kept + 1));
  return at::where(sizes >= smallest, vector, at::zeros_like(vector));
}

// [tau of W, tau of b]^T in fp64, [columns, rows].
at::Tensor Columns(const nn::ParameterBuffer& parameters, nn::SlotId matrix, nn::SlotId bias,
                   const at::Tensor& vector) {
  const nn::ParameterSlice& w = parameters.slice(matrix);
  at::Tensor layer = vector.narrow(0, w.offset, w.size).view(w.shape);
  if (bias >= 0) {
    const nn::ParameterSlice& b = parameters.slice(bias);
    layer = at::cat({layer, vector.narrow(0, b.offset, b.size).unsqueeze(1)}, 1);
  }
  return layer.to(at::kDouble).t();
}

}  // namespace

at::Tensor MergeAverage(std::span<const at::Tensor> vectors) {
  return Sum(vectors).div_(static_cast<double>(vectors.size()));
}

at::Tensor MergeFisher(std::span<const at::Tensor> vectors, std::span<const at::Tensor> importance) {
  at::Tensor weighted = vectors.front() * importance.front();
  for (size_t t = 1; t < vectors.size(); ++t) weighted.addcmul_(vectors[t], importance[t]);
  const at::Tensor total = Sum(importance);
  return at::where(total > 0, weighted / total, MergeAverage(vectors));
}

at::Tensor MergeArithmetic(std::span<const at::Tensor> vectors, double scale) { return Sum(vectors).mul_(scale); }

at::Tensor MergeTies(std::span<const at::Tensor> vectors, double keep, double scale) {
  std::vector<at::Tensor> trimmed;
  for (const at::Tensor& vector : vectors) trimmed.push_back(Trim(vector, keep));
  const at::Tensor sign = Sum(trimmed).sign_();
  at::Tensor sum = at::zeros_like(sign), agreeing = at::zeros_like(sign);
  for (const at::Tensor& vector : trimmed) {
    const at::Tensor agrees = vector * sign > 0;
    sum.add_(at::where(agrees, vector, at::zeros_like(vector)));
    agreeing.add_(agrees);
  }
  return sum.div_(agreeing.clamp_min_(1)).mul_(scale);
}

EmrMerge MergeEmr(std::span<const at::Tensor> vectors) {
  const at::Tensor sign = Sum(vectors).sign_();
  at::Tensor size = at::zeros_like(sign);
  for (const at::Tensor& vector : vectors) size = at::maximum(size, vector * sign);  // others are negative, or 0
  EmrMerge merged{size.mul_(sign), {}};
  for (const at::Tensor& vector : vectors) {
    const at::Tensor agrees = vector * sign > 0;
    const double own = vector.abs().sum(at::kDouble).item<double>(),
                 left = at::where(agrees, merged.update, 0).abs_().sum(at::kDouble).item<double>();
    merged.masks.push_back({nn::PackBits(agrees), left > 0 ? own / left : 1});
  }
  return merged;
}

at::Tensor MergeRegMean(const nn::ParameterBuffer& parameters, std::span<const at::Tensor> vectors,
                        std::span<const LayerFactors> factors, double off_diagonal) {
  constexpr double kRidge = 1e-6;
  at::Tensor merged = MergeAverage(vectors);
  for (const auto& [matrix, unused] : factors.front()) {
    const nn::ParameterSlice& w = parameters.slice(matrix);
    at::Tensor total, fitted;
    nn::SlotId bias = -1;
    for (size_t t = 0; t < vectors.size(); ++t) {
      at::Tensor a = factors[t].at(matrix).inputs.to(at::kDouble);
      if (a.size(0) > w.shape[1]) bias = BiasOf(parameters, matrix);
      const at::Tensor diagonal = a.diagonal().clone();
      a = a * off_diagonal;
      a.diagonal().copy_(diagonal);
      const at::Tensor product = at::mm(a, Columns(parameters, matrix, bias, vectors[t]));
      total = t == 0 ? a : total + a;
      fitted = t == 0 ? product : fitted + product;
    }
    total.diagonal().add_(total.diagonal().mean(), kRidge);
    const at::Tensor layer = at::linalg_solve(total, fitted).t();
    merged.narrow(0, w.offset, w.size).view(w.shape).copy_(layer.narrow(1, 0, w.shape[1]));
    if (bias >= 0) {
      const nn::ParameterSlice& b = parameters.slice(bias);
      merged.narrow(0, b.offset, b.size).copy_(layer.select(1, w.shape[1]));
    }
  }
  return merged;
}

}  // namespace engram::continual
