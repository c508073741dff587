#pragma once

// The examples of a run: checked against the task and the model, and parted into training and validation.

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/status.h"
#include "core/nn/model.h"
#include "core/train/example.h"
#include "core/train/micro_batch.h"
#include "core/train/train_options.h"

namespace engram::train {

// Neither copied nor moved: its spans may point into itself.
class TaskData {
 public:
  // `training` and `validation` must outlive the object.
  TaskData(std::span<const TrainingExample> training, std::span<const TrainingExample> validation)
      : training_(training), validation_(validation) {}
  TaskData(const TaskData&) = delete;
  TaskData& operator=(const TaskData&) = delete;

  // Holds out options.validation_fraction of the training texts, all windows of each, if there are no validation examples; then checks
  // all. NOT_FOUND if the model has no head for the task; INVALID_ARGUMENT if the head, the options or an example do
  // not fit.
  absl::Status Prepare(const nn::Model& model, const TrainOptions& options, const TaskSpec& task);

  std::span<const TrainingExample> training() const { return training_; }
  std::span<const TrainingExample> validation() const { return validation_; }
  const std::vector<int32_t>& lengths() const { return lengths_; }  // tokens of each training example

 private:
  void HoldOut(double fraction, uint64_t seed);

  std::span<const TrainingExample> training_, validation_;
  std::vector<TrainingExample> own_training_, own_validation_;  // only if validation examples were held out here
  std::vector<int32_t> lengths_;
};

}  // namespace engram::train
