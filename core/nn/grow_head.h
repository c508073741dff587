#pragma once

// A head that gets further labels.

#include <cstdint>
#include <string>

#include "core/base/status.h"
#include "core/nn/model.h"

namespace engram::nn {

// The task's head has `labels` labels from now on, of which those that it had are the first and keep their weights; the
// others are drawn as those of a new head. `labels` is above what it had. Errors as Model::ReplaceHead.
absl::Status GrowHead(const std::string& task, int64_t labels, uint64_t seed, Model& model);

}  // namespace engram::nn
