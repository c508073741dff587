#pragma once

// Which run a checkpoint belongs to.

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "core/nn/parameter_buffer.h"
#include "core/train/example.h"
#include "core/train/micro_batch.h"
#include "core/train/train_options.h"

namespace engram::train {

struct StrategyIdentity {
  std::string_view name;
  const std::map<std::string, std::string>& options;
};

// SHA-256 over everything that a run's steps are a function of: options (but for how often checkpoints are written),
// task, strategy with its options, examples, names and shapes of the parameters, and which of them are trained. Weights
// are not part of it, nor what the base version holds for the strategy: a run belongs to one base version.
std::string RunFingerprint(const TrainOptions& options, const TaskSpec& task, const StrategyIdentity& strategy,
                           std::span<const TrainingExample> training, std::span<const TrainingExample> validation,
                           const nn::ParameterBuffer& parameters, std::span<const nn::SlotId> trainable);

}  // namespace engram::train
