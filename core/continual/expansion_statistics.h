#pragma once

// What a linear head on fixed features phi is solved from in closed form: per class c the number of texts n_c and the
// sum of their features s_c, and of all texts the second moment G = sum phi phi^T. They are sums, so that the order of
// tasks and texts does not matter, nothing learned earlier is forgotten, and what is taken out again is subtracted.
//
// To make that exact and not merely close, features are rounded to multiples of 2^-20 before they are summed: then every
// partial sum is a multiple of 2^-40 that fp64 holds without rounding. Two statistics of the same features are equal to
// the bit, whatever was added and removed in between, on any number of threads.
//
// Thread-safety: const methods may run concurrently.

#include <cstdint>
#include <span>
#include <string>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"
#include "core/train/version_memory.h"

namespace engram::continual {

// A linear layer: logits = phi weight^T + bias. A class without texts has bias kNeverAnswered.
struct LinearSolution {
  at::Tensor weight, bias;  // fp32 [C, M], [C]
};
inline constexpr float kNeverAnswered = -1e4F;

class ExpansionStatistics {
 public:
  // All 0; `classes` and `width` at least 1.
  ExpansionStatistics(int64_t classes, int64_t width);

  int64_t classes() const;
  int64_t width() const;
  int64_t texts() const;                                // in all
  const at::Tensor& counts() const { return counts_; }  // fp64 [C], whole numbers

  // Further classes, without texts; a number that is not larger changes nothing.
  void Grow(int64_t classes);
  // Adds texts: `phi` fp32 [n, M] on the CPU, `labels` n class numbers. RESOURCE_EXHAUSTED where the sums would no longer
  // be exact (with features of length 1 and M = 2,500, after some ten million texts).
  absl::Status Add(const at::Tensor& phi, std::span<const int64_t> labels);
  // Takes texts out again. FAILED_PRECONDITION if that cannot have been added: a class would have fewer than no texts, or
  // a feature a negative second moment. After an error the statistics are not to be used.
  absl::Status Remove(const at::Tensor& phi, std::span<const int64_t> labels);

  // Linear discriminant analysis with one covariance for all classes, S = sum_c sum (phi - mu_c)(phi - mu_c)^T / N, shrunk
  // to (1 - shrinkage) S + shrinkage trace(S) / M I (Ledoit and Wolf's target): weight_c = S^-1 mu_c,
  // bias_c = -mu_c^T S^-1 mu_c / 2 + log(n_c / N). FAILED_PRECONDITION if S is singular or there are no texts.
  absl::StatusOr<LinearSolution> SolveLda(double shrinkage) const;
  // Ridge regression onto the classes' one-hot vectors without an intercept: weight = Y^T Phi (G + alpha I)^-1,
  // alpha = ridge trace(G) / M. Logits are no log-probabilities. Errors as above.
  absl::StatusOr<LinearSolution> SolveRidge(double ridge) const;

  // int64 tensors <prefix>.counts [C], <prefix>.sums [C, M] and <prefix>.second [M (M + 1) / 2], the rows of G's lower
  // triangle, in units of 2^-20 and 2^-40.
  void Store(const std::string& prefix, train::VersionMemory& memory) const;
  // DATA_LOSS with reason MEMORY_DAMAGED for tensors that no Store wrote.
  static absl::StatusOr<ExpansionStatistics> Load(const std::string& prefix, const train::VersionMemory& memory);

 private:
  void Accumulate(const at::Tensor& phi, std::span<const int64_t> labels, double sign);
  // The whole of G in units of phi^2, fp64 [M, M].
  at::Tensor SecondMoment() const;

  at::Tensor counts_;  // fp64 [C]
  at::Tensor sums_;    // fp64 [C, M], units of 2^-20
  at::Tensor second_;  // fp64 [M, M], units of 2^-40; at and below the diagonal
};

}  // namespace engram::continual
