// Evaluation: measures tasks of a version on texts and leaves a report.

#include "core/train/evaluate.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/nn/encoder_cost.h"
#include "core/train/precision.h"
#include "core/train/train_options.h"
#include "engram/v1/task.pb.h"
#include "server/jobs/cost_model.h"
#include "server/jobs/job_kind.h"
#include "server/rpc/names.h"

namespace engram::server {
namespace {

using engram::v1::EvaluateTaskRequest;
using engram::worker::v1::RunSpec;

// INVALID_ARGUMENT for a data set that the task cannot be measured on.
absl::Status CheckMeasurable(const checkpoint::ManifestTask& task, const jobs::DatasetRecord& dataset) {
  ENGRAM_RETURN_IF_ERROR(CheckRows(task, dataset));
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> outputs, OutputsOf(task.kind, dataset));
  return CheckLabels(task, outputs);
}

// The tasks that a request means: one, or all of the version.
absl::StatusOr<std::vector<const checkpoint::ManifestTask*>> AskedTasks(const EvaluateTaskRequest& request,
                                                                        const checkpoint::VersionManifest& manifest) {
  std::vector<const checkpoint::ManifestTask*> tasks;
  if (!request.task().empty()) {
    ENGRAM_ASSIGN_OR_RETURN(const checkpoint::ManifestTask* const task, LearnedTask(manifest, request.task()));
    tasks.push_back(task);
    return tasks;
  }
  if (!request.dataset().empty()) return InvalidField("dataset", "goes with one task; name the task too");
  for (const checkpoint::ManifestTask& task : manifest.tasks) tasks.push_back(&task);
  if (tasks.empty()) {
    return StatusWithReason(absl::StatusCode::kFailedPrecondition, "NO_TASKS",
                            "this version has learned no task yet; train one first");
  }
  return tasks;
}

class EvaluateKind final : public JobKindFor<EvaluateTaskRequest> {
 public:
  EvaluateKind() : JobKindFor({RunSpec::kEvaluate, engram::v1::JOB_KIND_EVALUATE, "evaluate", JobOutput::kReport}) {}

  void FillPaths(const DataPaths& paths, RunSpec& spec) const override {
    for (auto& item : *spec.mutable_evaluate()->mutable_items()) FillDatasetPaths(paths, item.mutable_dataset());
  }

  absl::StatusOr<WorkEstimate> Estimate(const PlanContext& context, const PlannedJob& job) const override {
    ENGRAM_ASSIGN_OR_RETURN(const VersionCosts base,
                            VersionCosts::Open(context, job.record.model, job.record.base_version));
    WorkEstimate estimate;
    engram::v1::JobEstimate& out = estimate.counts;
    for (const auto& item : job.spec.evaluate().items()) {
      ENGRAM_ASSIGN_OR_RETURN(const checkpoint::ManifestTask* const task, base.FindTask(item.task()));
      ENGRAM_ASSIGN_OR_RETURN(const jobs::DatasetRecord dataset, context.store.GetDataset(item.dataset().name()));
      const bool has_test = dataset.test_rows > 0;
      ENGRAM_ASSIGN_OR_RETURN(
          const CountedTexts all,
          base.Count(has_test ? context.paths.test(dataset.name) : context.paths.training(dataset.name),
                     has_test ? dataset.test_rows : dataset.training_rows, *task));
      out.set_texts(out.texts() + all.Scaled(all.texts));
      out.set_counted_texts(out.counted_texts() + all.texts);
      out.set_tokens(out.tokens() + all.Scaled(all.tokens));
      all.WarnOfCuts(absl::StrCat("texts measured for \"", task->name, "\""), base.max_tokens, base.max_tokens, out);
    }
    out.set_total_tokens(out.tokens());
    out.set_memory_bytes(base.weight_bytes + base.weight_bytes / kFloatBytes * kBFloat16Bytes +
                         nn::ActivationBytes(train::EvaluateOptions().batch_tokens, /*kept_layers=*/1, base.config,
                                             nn::Precision::kFloat32));
    estimate.products_per_token = kForwardPass * nn::ProductsPerToken(base.config);
    // As the worker chooses it (run_evaluation.cc).
    estimate.bf16 = train::ResolvePrecision(train::PrecisionChoice::kAuto, at::kCPU) == nn::Precision::kBFloat16;
    return estimate;
  }

 private:
  absl::StatusOr<PlannedJob> PlanRequest(const PlanContext& context,
                                         const EvaluateTaskRequest& request) const override {
    ENGRAM_ASSIGN_OR_RETURN(const BaseVersion base, OpenBase(context, request.model(), request.base()));
    ENGRAM_RETURN_IF_ERROR(CheckPriority(request.priority()));
    PlannedJob job = MakeVersionJob(*this, base, request.task(), request.priority(), "");
    ENGRAM_ASSIGN_OR_RETURN(const auto tasks, AskedTasks(request, base.manifest));
    for (const checkpoint::ManifestTask* task : tasks) {
      ENGRAM_ASSIGN_OR_RETURN(const jobs::DatasetRecord dataset, request.dataset().empty()
                                                                     ? TrainedDataset(context, *task)
                                                                     : FindDataset(context, request.dataset()));
      ENGRAM_RETURN_IF_ERROR(CheckMeasurable(*task, dataset));
      auto* item = job.spec.mutable_evaluate()->add_items();
      item->set_task(task->name);
      SetDataset(dataset, item->mutable_dataset());
      job.record.datasets.push_back(dataset.name);
      const bool own = dataset.digest == task->dataset_digest;
      (*job.description.mutable_options())[absl::StrCat("dataset of ", task->name)] =
          absl::StrCat(DatasetName(dataset.name), dataset.test_rows > 0 ? " (test part)"
                                                  : own                 ? " (training rows: it has no test part)"
                                                                        : " (all its rows: it has no test part)");
    }
    return job;
  }
};

const JobKindRegistration kRegistration(std::make_unique<EvaluateKind>());

}  // namespace
}  // namespace engram::server
