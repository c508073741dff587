#include "core/train/task_data.h"

#include "absl/strings/str_cat.h"
#include "core/train/batches.h"

namespace engram::train {
namespace {

std::vector<TrainingExample> Select(std::span<const TrainingExample> examples, const std::vector<int64_t>& indices) {
  std::vector<TrainingExample> selected;
  for (const int64_t index : indices) selected.push_back(examples[index]);
  return selected;
}

absl::Status CheckTask(const nn::Model& model, const TaskSpec& task) {
  const auto head = model.heads().find(task.name);
  if (head == model.heads().end()) {
    return StatusWithReason(absl::StatusCode::kNotFound, "HEAD_NOT_FOUND",
                            absl::StrCat("the model has no head for task \"", task.name, "\""));
  }
  if (head->second.kind != task.kind) return InvalidField("kind", "is not the kind of the task's head");
  if (task.kind == checkpoint::TaskKind::kMaskedLanguageModel) {
    if (!task.masking || task.masking->vocab_size <= 0)
      return InvalidField("masking", "is needed for masked language modelling");
    return absl::OkStatus();
  }
  if (head->second.labels != task.labels)
    return InvalidField("labels", "are not as many as the task's head has outputs");
  return absl::OkStatus();
}

}  // namespace

void TaskData::HoldOut(double fraction, uint64_t seed) {
  std::vector<int64_t> texts;
  for (const TrainingExample& example : training_) texts.push_back(example.source);
  const ValidationSplit split = SplitValidation(texts, fraction, seed);
  own_training_ = Select(training_, split.training);
  own_validation_ = Select(training_, split.validation);
  training_ = own_training_;
  validation_ = own_validation_;
}

absl::Status TaskData::Prepare(const nn::Model& model, const TrainOptions& options, const TaskSpec& task) {
  ENGRAM_RETURN_IF_ERROR(CheckTask(model, task));
  if (validation_.empty() && options.validation_fraction > 0) HoldOut(options.validation_fraction, options.seed);
  if (training_.empty()) return InvalidField("dataset", "has no training texts");
  if (validation_.empty() && options.validation_fraction > 0) {
    return InvalidField("validation_fraction",
                        "holds out whole texts, and the training part is a single one; leave it out, or upload more");
  }
  if (options.early_stopping_patience > 0 && validation_.empty()) {
    return InvalidField("early_stopping_patience", "needs validation texts; give some, or set validation_fraction");
  }
  const int64_t longest = model.config().max_length();
  ENGRAM_RETURN_IF_ERROR(ValidateExamples(task, training_, longest));
  ENGRAM_RETURN_IF_ERROR(Annotate(ValidateExamples(task, validation_, longest), "validation"));
  for (const TrainingExample& example : training_)
    lengths_.push_back(static_cast<int32_t>(example.sequence.ids.size()));
  return absl::OkStatus();
}

}  // namespace engram::train
