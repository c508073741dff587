// Cross-validation: a training measured by folds, then done on all rows, in a new version. What a training is, is said by
// its own kind (train.cc), which plans and estimates the training on all rows; here the folds come to it.

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/checkpoint/task_kind.h"
#include "core/corpus/folds.h"
#include "core/train/train_options.h"
#include "engram/v1/task.pb.h"
#include "server/jobs/job_kind.h"
#include "server/rpc/names.h"

namespace engram::server {
namespace {

using engram::v1::CrossValidateTaskRequest;
using engram::v1::StartTaskRequest;
using engram::worker::v1::CrossValidateWork;
using engram::worker::v1::RunSpec;
using engram::worker::v1::TrainWork;

constexpr int32_t kDefaultFolds = 5, kMostFolds = 50;
constexpr int64_t kReadAtOnceBytes = 16 << 20;  // data sets up to here are dealt before the job is accepted
constexpr const char* kDevelopment = "validation_fraction";

const JobKind& Training() { return *FindJobKind(RunSpec::kTrain); }

// The training on all rows, which holds nothing out.
StartTaskRequest OnAllRows(const CrossValidateTaskRequest& request) {
  StartTaskRequest start;
  start.set_model(request.model());
  start.set_task(request.task());
  start.set_dataset(request.dataset());
  start.set_kind(request.kind());
  start.set_base(request.base());
  start.set_strategy(request.strategy());
  if (request.has_lambda()) start.set_lambda(request.lambda());
  *start.mutable_options() = request.options();
  start.mutable_options()->erase(kDevelopment);
  start.set_label(request.label());
  start.set_priority(request.priority());
  return start;
}

// Sets the part of each fold's training rows that early stopping looks at.
absl::Status SetDevelopment(const CrossValidateTaskRequest& request, TrainWork& work) {
  ENGRAM_ASSIGN_OR_RETURN(train::TrainOptions options,
                          train::ParseTrainOptions({work.options().begin(), work.options().end()}));
  const auto asked = request.options().find(kDevelopment);
  if (asked != request.options().end())
    ENGRAM_RETURN_IF_ERROR(train::SetTrainOption(options, kDevelopment, asked->second));
  ENGRAM_RETURN_IF_ERROR(train::ValidateTrainOptions(options));
  if (options.early_stopping_patience > 0 && options.validation_fraction == 0) {
    return InvalidField(kDevelopment,
                        "is 0, and early stopping needs rows to look at, which are held out of each fold's training "
                        "rows: set it, to 0.1 for example, or leave early_stopping_patience out");
  }
  for (const auto& [key, value] : train::TrainOptionsToMap(options)) (*work.mutable_options())[key] = value;
  return absl::OkStatus();
}

// The folds as the run will deal them, or why it could not.
absl::StatusOr<corpus::FoldPlan> Deal(const PlanContext& context, const CrossValidateWork& work) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(context.paths.training(work.train().dataset().name())));
  ENGRAM_ASSIGN_OR_RETURN(const corpus::Dataset dataset, corpus::ParseCanonical(bytes));
  ENGRAM_ASSIGN_OR_RETURN(const train::TrainOptions options,
                          train::ParseTrainOptions({work.train().options().begin(), work.train().options().end()}));
  return corpus::PlanFolds(dataset,
                           {work.folds(), work.fold_seed(), options.validation_fraction, work.term_held_out()});
}

class CrossValidateKind final : public JobKindFor<CrossValidateTaskRequest> {
 public:
  CrossValidateKind()
      : JobKindFor(
            {RunSpec::kCrossValidate, engram::v1::JOB_KIND_CROSS_VALIDATE, "cross_validate", JobOutput::kVersion}) {}

  void FillPaths(const DataPaths& paths, RunSpec& spec) const override {
    RunSpec training;
    training.mutable_train()->Swap(spec.mutable_cross_validate()->mutable_train());
    Training().FillPaths(paths, training);
    training.mutable_train()->Swap(spec.mutable_cross_validate()->mutable_train());
  }

  absl::StatusOr<WorkEstimate> Estimate(const PlanContext& context, const PlannedJob& job) const override {
    const CrossValidateWork& work = job.spec.cross_validate();
    ENGRAM_RETURN_IF_ERROR(Deal(context, work).status());
    PlannedJob training = job;
    *training.spec.mutable_train() = work.train();
    ENGRAM_ASSIGN_OR_RETURN(WorkEstimate estimate, Training().Estimate(context, training));
    // k trainings on (k - 1) / k of the rows, and one on all of them: k times all rows.
    engram::v1::JobEstimate& out = estimate.counts;
    out.set_total_tokens(out.total_tokens() * work.folds());
    out.set_steps(out.steps() * work.folds());
    // A fold's model and files are gone before the next one is trained.
    ENGRAM_ASSIGN_OR_RETURN(const jobs::DatasetRecord dataset, context.store.GetDataset(work.train().dataset().name()));
    out.set_disk_bytes(out.disk_bytes() + dataset.size_bytes);
    return estimate;
  }

 private:
  absl::StatusOr<PlannedJob> PlanRequest(const PlanContext& context,
                                         const CrossValidateTaskRequest& request) const override {
    if (request.folds() != 0 && (request.folds() < 2 || request.folds() > kMostFolds)) {
      return InvalidField("folds",
                          absl::StrCat("must lie in [2, ", kMostFolds, "], or be 0, which stands for ", kDefaultFolds));
    }
    ENGRAM_ASSIGN_OR_RETURN(PlannedJob job, Training().Plan(context, OnAllRows(request)));
    const TrainWork train = job.spec.train();
    if (train.has_search()) {
      return InvalidField(
          train.search().option(),
          "is auto, which a cross-validation does not take: search it by a training (StartTask), and name "
          "the strength that it found here");
    }
    if (train.kind() == checkpoint::TaskKindName(checkpoint::TaskKind::kMaskedLanguageModel)) {
      return InvalidField(
          "dataset", "would be learned as plain text, which is not cross-validated; choose one with labels or tags");
    }
    CrossValidateWork& work = *job.spec.mutable_cross_validate();  // in place of job.spec.train()
    *work.mutable_train() = train;
    ENGRAM_RETURN_IF_ERROR(SetDevelopment(request, *work.mutable_train()));
    work.set_folds(request.folds() == 0 ? kDefaultFolds : request.folds());
    work.set_fold_seed(request.fold_seed());
    work.set_term_held_out(request.term_held_out());
    ENGRAM_ASSIGN_OR_RETURN(const jobs::DatasetRecord dataset, context.store.GetDataset(train.dataset().name()));
    if (dataset.size_bytes <= kReadAtOnceBytes) ENGRAM_RETURN_IF_ERROR(Deal(context, work).status());
    job.description.set_kind(facts().shown_as);
    auto& shown = *job.description.mutable_options();
    shown["folds"] = absl::StrCat(work.folds());
    shown["fold_seed"] = absl::StrCat(work.fold_seed());
    shown["term_held_out"] = work.term_held_out() ? "true" : "false";
    const auto development = request.options().find(kDevelopment);
    if (development != request.options().end()) shown[kDevelopment] = development->second;
    return job;
  }
};

const JobKindRegistration kRegistration(std::make_unique<CrossValidateKind>());

}  // namespace
}  // namespace engram::server
