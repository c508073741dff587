// Cross-validation: each fold's training is a training like any other (run_training.cc), in a folder of its own inside the
// run directory, on files that are written there. What a fold came to is kept there too, so that a run which goes on does
// not repeat it; the model of a fold is deleted as soon as it is measured. Last comes the training on all rows, whose
// version the job publishes.

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/corpus/folds.h"
#include "core/train/train_options.h"
#include "server/worker/fold_summary.h"
#include "server/worker/inner_run.h"
#include "server/worker/measure.h"
#include "server/worker/run.h"

namespace engram::worker {
namespace {

using engram::v1::FoldResult;
using engram::v1::JobResult;
using engram::worker::v1::CrossValidateWork;
using engram::worker::v1::RunDataset;

absl::StatusOr<train::TrainOptions> OptionsOf(const engram::worker::v1::TrainWork& work) {
  return train::ParseTrainOptions({work.options().begin(), work.options().end()});
}

void SetOptions(const train::TrainOptions& options, engram::worker::v1::TrainWork& work) {
  for (const auto& [key, value] : train::TrainOptionsToMap(options)) (*work.mutable_options())[key] = value;
}

// Writes some rows as a part of a data set; the answer is the digest of the file.
absl::StatusOr<std::string> WritePart(const corpus::Dataset& dataset, const std::vector<int64_t>& rows,
                                      const std::string& path) {
  const std::string bytes = corpus::RenderCanonical(corpus::SelectRows(dataset, rows));
  ENGRAM_RETURN_IF_ERROR(WriteFileAtomic(path, bytes));
  return Sha256Hex(bytes);
}

// The fold as a data set: trained on, looked at by early stopping, measured.
absl::StatusOr<RunDataset> WriteFold(const corpus::Dataset& dataset, const corpus::Fold& fold, const RunDataset& whole,
                                     const std::string& directory) {
  RunDataset out;
  out.set_name(whole.name());
  *out.mutable_labels() = whole.labels();
  out.set_training_path(directory + "/training.jsonl");
  out.set_test_path(directory + "/test.jsonl");
  ENGRAM_ASSIGN_OR_RETURN(const std::string training, WritePart(dataset, fold.training, out.training_path()));
  ENGRAM_ASSIGN_OR_RETURN(const std::string test, WritePart(dataset, fold.test, out.test_path()));
  std::string parts = training + test;
  if (!fold.development.empty()) {
    out.set_validation_path(directory + "/development.jsonl");
    ENGRAM_ASSIGN_OR_RETURN(const std::string development, WritePart(dataset, fold.development, out.validation_path()));
    parts += development;
  }
  out.set_digest(Sha256Hex(parts));
  return out;
}

FoldResult Describe(const corpus::Fold& fold, int32_t number, const JobResult& trained) {
  FoldResult out;
  out.set_fold(number);
  out.set_training_rows(static_cast<int64_t>(fold.training.size()));
  out.set_development_rows(static_cast<int64_t>(fold.development.size()));
  out.set_test_rows(static_cast<int64_t>(fold.test.size()));
  out.set_left_out_rows(fold.left_out);
  for (const engram::v1::Metric& metric : trained.metrics()) {
    engram::v1::Metric& copy = *out.add_metrics();
    copy = metric;
    copy.set_own_test_part(false);
    copy.set_part(engram::v1::MEASURED_PART_FOLD);
    copy.clear_before();
  }
  for (const engram::v1::LabelMetrics& label : trained.label_metrics()) {
    engram::v1::LabelMetrics& copy = *out.add_label_metrics();
    copy = label;
    copy.set_part(engram::v1::MEASURED_PART_FOLD);
    copy.clear_f1_before();
  }
  return out;
}

// What the fold's training came to; nullopt if it stopped on request.
absl::StatusOr<std::optional<JobResult>> TrainFold(RunContext& context, const corpus::Dataset& dataset,
                                                   const corpus::Fold& fold, int32_t number) {
  const CrossValidateWork& work = context.spec.cross_validate();
  const std::string directory = absl::StrCat(context.directory, "/fold-", number);
  const auto prepare = [&]() -> absl::StatusOr<RunContext> {
    ENGRAM_ASSIGN_OR_RETURN(RunContext inner, InnerRun(context, work.train(), directory,
                                                       absl::StrCat("fold ", number, " of ", work.folds())));
    engram::worker::v1::TrainWork& train = *inner.spec.mutable_train();
    ENGRAM_ASSIGN_OR_RETURN(*train.mutable_dataset(), WriteFold(dataset, fold, train.dataset(), directory));
    train.clear_earlier();  // the other tasks are measured once, after the training on all rows
    ENGRAM_ASSIGN_OR_RETURN(train::TrainOptions options, OptionsOf(train));
    options.validation_fraction = 0;  // the fold's development rows are a part of its data set
    SetOptions(options, train);
    return inner;
  };
  return TrainOnce(directory, prepare, [&](const RunContext& inner) { TakeWarnings(inner, context); });
}

// The training on all rows, for `epochs`.
RunResult TrainOnAll(RunContext& context, int64_t epochs) {
  ENGRAM_ASSIGN_OR_RETURN(RunContext inner,
                          InnerRun(context, context.spec.cross_validate().train(), context.directory, "all rows"));
  engram::worker::v1::TrainWork& train = *inner.spec.mutable_train();
  ENGRAM_ASSIGN_OR_RETURN(train::TrainOptions options, OptionsOf(train));
  options.validation_fraction = 0;
  options.early_stopping_patience = 0;
  options.epochs = epochs;
  SetOptions(options, train);
  inner.measured_elsewhere = true;
  RunResult trained = RunTraining(inner);
  TakeWarnings(inner, context);
  return trained;
}

}  // namespace

RunResult RunCrossValidation(RunContext& context) {
  const CrossValidateWork& work = context.spec.cross_validate();
  context.Phase("loading");
  ENGRAM_RETURN_IF_ERROR(VerifyDataset(work.train().dataset()));
  ENGRAM_ASSIGN_OR_RETURN(const corpus::Dataset dataset, ReadPart(work.train().dataset().training_path()));
  ENGRAM_ASSIGN_OR_RETURN(const train::TrainOptions options, OptionsOf(work.train()));
  ENGRAM_ASSIGN_OR_RETURN(
      const corpus::FoldPlan plan,
      corpus::PlanFolds(dataset, {work.folds(), work.fold_seed(), options.validation_fraction, work.term_held_out()}));
  engram::v1::CrossValidation validation;
  validation.set_groups(plan.groups);
  JobResult sums;
  std::vector<int64_t> best_epochs;
  for (size_t i = 0; i < plan.folds.size(); ++i) {
    const auto number = static_cast<int32_t>(i + 1);
    ENGRAM_ASSIGN_OR_RETURN(const std::optional<JobResult> trained, TrainFold(context, dataset, plan.folds[i], number));
    if (!trained) return std::nullopt;
    *validation.add_folds() = Describe(plan.folds[i], number, *trained);
    if (options.early_stopping_patience > 0) best_epochs.push_back(trained->best_epoch());
    AddEffort(*trained, sums);
  }
  Summarize(validation);
  validation.set_refit_epochs(best_epochs.empty() ? options.epochs : Median(best_epochs));
  ENGRAM_ASSIGN_OR_RETURN(std::optional<JobResult> result, TrainOnAll(context, validation.refit_epochs()));
  if (!result) return std::nullopt;
  AddEffort(sums, *result);
  *result->mutable_cross_validation() = std::move(validation);
  return result;
}

}  // namespace engram::worker
