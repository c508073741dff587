#pragma once

// Folds of a cross-validation. Pure functions of the rows and a seed.

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/status.h"
#include "core/corpus/dataset.h"

namespace engram::corpus {

// The group of each row, numbered from 0 in the order of their first rows. Rows with the same text (words, pair of texts)
// and rows of one document are of one group, and so are groups that share either: what is measured on must not have been
// trained on.
std::vector<int64_t> GroupsOfRows(const Dataset& dataset);

// The fold of each row, in [0, folds): groups stay whole, every fold has at least one, and the rows and each label are
// spread over the folds as evenly as the groups allow. `labels`: of each row the numbers of its labels, as often as it has
// them. Greedy: the groups in descending order of their rows (equal ones shuffled by `seed` and `step`), each to the fold
// where it adds least to
//   sum over labels l, and the rows themselves, of sum over folds f of (count(f, l) / count(l))^2,
// whose least value is that of even folds. FAILED_PRECONDITION, reason TOO_FEW_GROUPS, for fewer groups than folds;
// folds >= 2. O(occurrences of labels * folds).
absl::StatusOr<std::vector<int32_t>> DealFolds(std::span<const int64_t> groups,
                                               std::span<const std::vector<int32_t>> labels, int32_t folds,
                                               uint64_t seed, uint64_t step);

struct FoldOptions {
  int32_t folds = 5;
  uint64_t seed = 0;
  double development_fraction = 0;  // of the training rows of each fold, in [0, 0.5]; 0: none are held out
  // Of taggers: no row is trained on in which an entity of the fold occurs, letter case aside.
  bool term_held_out = false;
};

// Numbers of rows, ascending. No group is in two of the three, and each row is in `test` of exactly one fold.
struct Fold {
  std::vector<int64_t> training, development, test;
  int64_t left_out = 0;  // rows of other folds that term_held_out keeps out of `training` and `development`
};

struct FoldPlan {
  std::vector<Fold> folds;
  int64_t groups = 0;
};

// Development rows are dealt as folds are, one part out of round(1 / development_fraction). INVALID_ARGUMENT
// (term_held_out) for data without entities, or where no row would be left to train on; FAILED_PRECONDITION
// (TOO_FEW_GROUPS) as DealFolds, and if a fold's training rows are a single group that development rows shall be taken of.
absl::StatusOr<FoldPlan> PlanFolds(const Dataset& dataset, const FoldOptions& options);

// Those rows, in their order, as a data set.
Dataset SelectRows(const Dataset& dataset, std::span<const int64_t> rows);

}  // namespace engram::corpus
