#pragma once

#include <cstdint>
#include <vector>

#include "engram/v1/job.pb.h"

namespace engram::worker {

// Fills `metrics` and `labels` of a cross-validation from its `folds`: mean, standard deviation (n - 1), lowest and
// highest, each over the folds that have the metric, or in whose rows the label occurs, in the order of their first fold.
void Summarize(engram::v1::CrossValidation& validation);

// The middle one; of an even number the mean of the middle two, rounded half up. `values` is not empty.
int64_t Median(std::vector<int64_t> values);

}  // namespace engram::worker
