#include "core/continual/expansion_statistics.h"

#include <algorithm>
#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/addmm.h"
#include "ATen/ops/cholesky_solve.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/full.h"
#include "ATen/ops/linalg_cholesky_ex.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/where.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "core/checkpoint/expansion.h"

namespace engram::continual {
namespace {

constexpr double kGrid = 1048576;            // 2^20 units of 1
constexpr double kExact = 4503599627370496;  // 2^52: half of where fp64 begins to round whole numbers
constexpr int64_t kBlock = 512;              // of G's rows and columns

absl::Status Damaged(const std::string& name) {
  return StatusWithReason(absl::StatusCode::kDataLoss, "MEMORY_DAMAGED",
                          absl::StrCat("what the strategy remembers is damaged: ", name));
}

// matrix^-1 right, for a symmetric positive definite matrix.
absl::StatusOr<at::Tensor> SolveSymmetric(const at::Tensor& matrix, const at::Tensor& right, const char* remedy) {
  const auto [factor, info] = at::linalg_cholesky_ex(matrix);
  if (info.item<int>() != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("the features of the texts do not span their space, so that no head can be solved: raise ", remedy,
                     " or lower width"));
  }
  return at::cholesky_solve(right, factor);
}

// Rounded to fp32, classes without texts never answered.
LinearSolution Finish(const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& counts) {
  const at::Tensor known = counts > 0;
  return {(weight * known.unsqueeze(1)).to(at::kFloat).contiguous(),
          at::where(known, bias, at::full({1}, kNeverAnswered, at::kDouble)).to(at::kFloat)};
}

}  // namespace

ExpansionStatistics::ExpansionStatistics(int64_t classes, int64_t width)
    : counts_(at::zeros({classes}, at::kDouble)),
      sums_(at::zeros({classes, width}, at::kDouble)),
      second_(at::zeros({width, width}, at::kDouble)) {}

int64_t ExpansionStatistics::classes() const { return counts_.size(0); }
int64_t ExpansionStatistics::width() const { return second_.size(0); }
int64_t ExpansionStatistics::texts() const { return static_cast<int64_t>(counts_.sum().item<double>()); }

void ExpansionStatistics::Grow(int64_t classes) {
  const int64_t known = this->classes();
  if (classes <= known) return;
  at::Tensor counts = at::zeros({classes}, at::kDouble), sums = at::zeros({classes, width()}, at::kDouble);
  counts.narrow(0, 0, known).copy_(counts_);
  sums.narrow(0, 0, known).copy_(sums_);
  counts_ = std::move(counts);
  sums_ = std::move(sums);
}

void ExpansionStatistics::Accumulate(const at::Tensor& phi, std::span<const int64_t> labels, double sign) {
  const at::Tensor q = (phi.to(at::kDouble) * kGrid).round_();
  at::Tensor classes = at::empty({static_cast<int64_t>(labels.size())}, at::kLong);
  std::copy(labels.begin(), labels.end(), classes.mutable_data_ptr<int64_t>());
  counts_.index_add_(0, classes, at::ones({q.size(0)}, at::kDouble), sign);
  sums_.index_add_(0, classes, q, sign);
  for (int64_t row = 0; row < width(); row += kBlock) {
    const int64_t rows = std::min(kBlock, width() - row), columns = row + rows;
    second_.narrow(0, row, rows)
        .narrow(1, 0, columns)
        .addmm_(q.narrow(1, row, rows).t(), q.narrow(1, 0, columns), 1, sign);
  }
}

absl::Status ExpansionStatistics::Add(const at::Tensor& phi, std::span<const int64_t> labels) {
  Accumulate(phi, labels, 1);
  // No entry of G is larger than the largest of its diagonal.
  if (second_.diagonal().max().item<double>() < kExact) return absl::OkStatus();
  return absl::ResourceExhaustedError("the texts are too many for sums that are exact");
}

absl::Status ExpansionStatistics::Remove(const at::Tensor& phi, std::span<const int64_t> labels) {
  Accumulate(phi, labels, -1);
  if (counts_.min().item<double>() >= 0 && second_.diagonal().min().item<double>() >= 0) return absl::OkStatus();
  return absl::FailedPreconditionError("the texts to be removed are not among those that the task was learned from");
}

at::Tensor ExpansionStatistics::SecondMoment() const {
  const at::Tensor lower = second_.tril(-1);
  return (lower + lower.t() + second_.diagonal().diag()).div_(kGrid * kGrid);
}

absl::StatusOr<LinearSolution> ExpansionStatistics::SolveLda(double shrinkage) const {
  const double texts = counts_.sum().item<double>();
  if (texts == 0) return absl::FailedPreconditionError("there are no texts to solve a head from");
  const at::Tensor counts = counts_.clamp_min(1);  // a class without texts has a sum of 0
  const at::Tensor means = sums_ / counts.unsqueeze(1) / kGrid;
  const at::Tensor scaled = means * counts.sqrt().unsqueeze(1);
  at::Tensor covariance = (SecondMoment() - at::mm(scaled.t(), scaled)).div_(texts);
  const double spread = covariance.diagonal().sum().item<double>() / static_cast<double>(width());
  covariance.mul_(1 - shrinkage).diagonal().add_(shrinkage * spread);
  ENGRAM_ASSIGN_OR_RETURN(const at::Tensor solved, SolveSymmetric(covariance, means.t(), "shrinkage"));
  const at::Tensor weight = solved.t();
  return Finish(weight, (means * weight).sum(1) * -0.5 + (counts / texts).log(), counts_);
}

absl::StatusOr<LinearSolution> ExpansionStatistics::SolveRidge(double ridge) const {
  if (texts() == 0) return absl::FailedPreconditionError("there are no texts to solve a head from");
  at::Tensor moment = SecondMoment();
  const double alpha = ridge * moment.diagonal().sum().item<double>() / static_cast<double>(width());
  moment.diagonal().add_(alpha);
  ENGRAM_ASSIGN_OR_RETURN(const at::Tensor solved, SolveSymmetric(moment, sums_.t() / kGrid, "ridge"));
  return Finish(solved.t(), at::zeros({classes()}, at::kDouble), counts_);
}

void ExpansionStatistics::Store(const std::string& prefix, train::VersionMemory& memory) const {
  const int64_t m = width();
  at::Tensor packed = at::empty({m * (m + 1) / 2}, at::kLong);
  for (int64_t row = 0; row < m; ++row) {
    packed.narrow(0, row * (row + 1) / 2, row + 1).copy_(second_.select(0, row).narrow(0, 0, row + 1));
  }
  memory.tensors[prefix + ".counts"] = counts_.to(at::kLong);
  memory.tensors[prefix + ".sums"] = sums_.to(at::kLong);
  memory.tensors[prefix + ".second"] = std::move(packed);
}

absl::StatusOr<ExpansionStatistics> ExpansionStatistics::Load(const std::string& prefix,
                                                              const train::VersionMemory& memory) {
  at::Tensor parts[3];
  const char* const names[] = {".counts", ".sums", ".second"};
  for (size_t i = 0; i < 3; ++i) {
    const auto found = memory.tensors.find(prefix + names[i]);
    if (found == memory.tensors.end() || found->second.scalar_type() != at::kLong) return Damaged(prefix + names[i]);
    parts[i] = found->second;
  }
  const auto& [counts, sums, second] = parts;
  if (counts.dim() != 1 || counts.numel() == 0 || counts.min().item<int64_t>() < 0) return Damaged(prefix + ".counts");
  if (sums.dim() != 2 || sums.size(0) != counts.size(0) || sums.size(1) < 1 ||
      sums.size(1) > checkpoint::kMaxExpansionWidth) {
    return Damaged(prefix + ".sums");
  }
  const int64_t m = sums.size(1);
  if (second.dim() != 1 || second.size(0) != m * (m + 1) / 2) return Damaged(prefix + ".second");
  ExpansionStatistics statistics(counts.size(0), m);
  statistics.counts_.copy_(counts);
  statistics.sums_.copy_(sums);
  for (int64_t row = 0; row < m; ++row) {
    statistics.second_.select(0, row).narrow(0, 0, row + 1).copy_(second.narrow(0, row * (row + 1) / 2, row + 1));
  }
  if (statistics.second_.diagonal().min().item<double>() < 0) return Damaged(prefix + ".second");
  return statistics;
}

}  // namespace engram::continual
