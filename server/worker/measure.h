#pragma once

#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/corpus/dataset.h"
#include "core/nn/version.h"
#include "core/tagging/entity_scores.h"
#include "core/tokenize/tokenizer.h"
#include "core/train/evaluate.h"
#include "core/train/task_router.h"
#include "core/train/train_options.h"
#include "server/worker/run.h"

namespace engram::worker {

// The digest of a data set whose files these are.
absl::StatusOr<std::string> DigestOf(const engram::worker::v1::RunDataset& dataset);
// Compares the parts of a data set with its digest; DATA_LOSS with reason DATASET_DAMAGED if they are others.
absl::Status VerifyDataset(const engram::worker::v1::RunDataset& dataset);
absl::StatusOr<corpus::Dataset> ReadPart(const std::string& path);

// The task as the trainer wants it: kind, number of outputs, masking.
absl::StatusOr<train::TaskSpec> MakeTaskSpec(const checkpoint::ManifestTask& task,
                                             const tokenize::Tokenizer& tokenizer);

// How a task that was learned reads texts of more than ManifestTask::chunk_tokens, or of more than the model takes.
train::LongTexts LongTextsOf(const checkpoint::ManifestTask& task);

// What a pass over texts took.
struct WorkDone {
  int64_t tokens = 0;  // special tokens included
  double seconds = 0;
};

// The router of a version and the version's tasks.
struct Routing {
  train::TaskRouter router;
  std::vector<checkpoint::ManifestTask> tasks;
};

// Which texts a task is measured on.
struct MeasuredOn {
  engram::v1::MeasuredPart part = engram::v1::MEASURED_PART_UNSPECIFIED;
  bool own_test_part = false;           // the test part of the data set that the task was trained on
  std::vector<std::string> types = {};  // of a tagger: those that the data set says anything of; empty: all
  const Routing* routing = nullptr;     // of a classification task: also measured, where the router knows the task
};

// Measures a task and appends its metrics (accuracy, macro_f1, loss, expected_calibration_error, and with a router
// routing_accuracy, the share of the texts that it leads to this task; entity_f1 for taggers; loss and perplexity for
// masked LMs), and those of each label or entity type, to `result`. Texts longer than the
// model's window are cut, and a warning says how many; where the task learned whole texts they are read whole.
absl::StatusOr<WorkDone> Measure(RunContext& context, const nn::Model& model, const checkpoint::ManifestTask& task,
                                 const tokenize::Tokenizer& tokenizer, const corpus::Dataset& dataset, MeasuredOn on,
                                 engram::v1::JobResult& result);
// The labels of a data set, for EntityScorer::Scores.
std::vector<std::string> LabelsOf(const engram::worker::v1::RunDataset& dataset);
// Appends what `evaluation` says of a task, over `texts` texts. `entities`: of a tagger; for other tasks it is not
// looked at.
void AddEvaluation(const std::string& model, const checkpoint::ManifestTask& task, const train::Evaluation& evaluation,
                   const tagging::EntityScores& entities, MeasuredOn on, int64_t texts, engram::v1::JobResult& result);
// What a training measured, as engram.json keeps it.
std::vector<checkpoint::Measurement> Measurements(const engram::v1::JobResult& result);

}  // namespace engram::worker
