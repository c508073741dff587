#pragma once

// Which run a checkpoint belongs to.

#include <span>
#include <string>
#include <string_view>

#include "core/nn/parameter_buffer.h"
#include "core/train/example.h"
#include "core/train/micro_batch.h"
#include "core/train/train_options.h"

namespace engram::train {

// SHA-256 over everything that a run's steps are a function of: options (but for how often checkpoints are written),
// task, strategy's name, examples, names and shapes of the parameters. Weights are not part of it.
std::string RunFingerprint(const TrainOptions& options, const TaskSpec& task, std::string_view strategy,
                           std::span<const TrainingExample> training, std::span<const TrainingExample> validation,
                           const nn::ParameterBuffer& parameters);

}  // namespace engram::train
