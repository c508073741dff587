#pragma once

// The checkpoint of a run: everything that the next step depends on. Written so that a crash leaves the old one or the
// new one whole.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/base/status.h"

namespace engram::train {

// Small numbers of the loop; random numbers need none, they are functions of (seed, step).
struct RunState {
  int64_t step = 0;  // optimizer steps done
  int64_t evaluations_without_gain = 0, dead_penalty_steps = 0;
  double best_validation_loss = 0;
  std::vector<double> reference_losses;
};

struct RunCheckpoint {
  RunState state;
  std::map<std::string, at::Tensor> tensors;   // fp32 [size] each
  std::map<std::string, at::Tensor> strategy;  // fp32, flat
};

// Undefined tensors are left out. fp32 tensors only.
absl::Status WriteRunCheckpoint(const std::string& path, const RunState& state,
                                const std::map<std::string, at::Tensor>& tensors,
                                const std::map<std::string, at::Tensor>& strategy);

// nullopt if there is none. INVALID_ARGUMENT if it is damaged or belongs to a model of another size.
absl::StatusOr<std::optional<RunCheckpoint>> ReadRunCheckpoint(const std::string& path, int64_t parameters);

}  // namespace engram::train
