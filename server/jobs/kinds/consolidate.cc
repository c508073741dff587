// Consolidation: importance and anchors of a task that a version has learned, in a new version.

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/continual/importance.h"
#include "core/nn/encoder_cost.h"
#include "engram/v1/task.pb.h"
#include "server/jobs/cost_model.h"
#include "server/jobs/job_kind.h"
#include "server/rpc/names.h"

namespace engram::server {
namespace {

using engram::v1::ConsolidateTaskRequest;
using engram::worker::v1::RunSpec;

constexpr int64_t kDefaultSamples = 1000, kMaxSamples = 10'000'000;

class ConsolidateKind final : public JobKindFor<ConsolidateTaskRequest> {
 public:
  ConsolidateKind()
      : JobKindFor({RunSpec::kConsolidate, engram::v1::JOB_KIND_CONSOLIDATE, "consolidate", JobOutput::kVersion}) {}

  void FillPaths(const DataPaths& paths, RunSpec& spec) const override {
    FillDatasetPaths(paths, spec.mutable_consolidate()->mutable_dataset());
  }

  absl::StatusOr<WorkEstimate> Estimate(const PlanContext& context, const PlannedJob& job) const override {
    const auto& work = job.spec.consolidate();
    ENGRAM_ASSIGN_OR_RETURN(const VersionCosts base,
                            VersionCosts::Open(context, job.record.model, job.record.base_version));
    ENGRAM_ASSIGN_OR_RETURN(const checkpoint::ManifestTask* const task, base.FindTask(work.task()));
    ENGRAM_ASSIGN_OR_RETURN(const jobs::DatasetRecord dataset, context.store.GetDataset(work.dataset().name()));
    ENGRAM_ASSIGN_OR_RETURN(const CountedTexts all,
                            base.Count(context.paths.training(dataset.name), dataset.training_rows, *task));
    WorkEstimate estimate;
    engram::v1::JobEstimate& out = estimate.counts;
    all.WarnOfCuts("training texts", base.max_tokens, base.max_tokens, out);
    out.set_texts(std::min(work.samples(), all.Scaled(all.texts)));
    out.set_counted_texts(all.texts);
    out.set_tokens(std::llround(static_cast<double>(all.tokens) / static_cast<double>(all.texts) *
                                static_cast<double>(out.texts())));
    out.set_total_tokens(out.tokens());
    const auto others = std::count_if(base.manifest.consolidations.begin(), base.manifest.consolidations.end(),
                                      [&](const auto& known) { return known.task != task->name; });
    const bool replaced = others < static_cast<int64_t>(base.manifest.consolidations.size());
    // Weights, the new Fisher and anchor, and those that the version has already; the gradients of a text of several
    // windows.
    const bool in_windows = all.examples() > all.texts || task->chunk_tokens > 0;
    const int64_t gradients = in_windows ? base.weight_bytes : 0;
    out.set_memory_bytes(base.weight_bytes + gradients + 2 * (1 + others) * base.model_bytes +
                         nn::ActivationBytes(continual::ImportanceOptions().batch_tokens, base.config.layers,
                                             base.config, nn::Precision::kFloat32));
    out.set_version_bytes(base.size_bytes + (replaced ? 0 : 2 * base.model_bytes));
    out.set_disk_bytes(out.version_bytes());
    estimate.products_per_token = kForwardAndBackwardPass * nn::ProductsPerToken(base.config);
    estimate.bf16 = false;  // importance is summed in fp32 (run_consolidation.cc)
    return estimate;
  }

 private:
  // The one that is named, whose labels must be the task's, or the one that the task was trained on.
  static absl::StatusOr<jobs::DatasetRecord> DatasetOf(const PlanContext& context,
                                                       const ConsolidateTaskRequest& request,
                                                       const checkpoint::ManifestTask& task) {
    if (request.dataset().empty() && task.dataset.empty()) {
      return InvalidField("dataset", absl::StrCat("is empty, and task \"", task.name,
                                                  "\" was imported: name data that shows what it does (--dataset)"));
    }
    if (request.dataset().empty()) return TrainedDataset(context, task);
    ENGRAM_ASSIGN_OR_RETURN(jobs::DatasetRecord dataset, FindDataset(context, request.dataset()));
    ENGRAM_RETURN_IF_ERROR(CheckRows(task, dataset));
    ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> outputs, OutputsOf(task.kind, dataset));
    ENGRAM_RETURN_IF_ERROR(CheckLabels(task, outputs));
    return dataset;
  }

  absl::StatusOr<PlannedJob> PlanRequest(const PlanContext& context,
                                         const ConsolidateTaskRequest& request) const override {
    ENGRAM_ASSIGN_OR_RETURN(const BaseVersion base, OpenBase(context, request.model(), request.base()));
    ENGRAM_RETURN_IF_ERROR(CheckPriority(request.priority()));
    if (!request.label().empty()) ENGRAM_RETURN_IF_ERROR(CheckId("label", request.label()));
    ENGRAM_ASSIGN_OR_RETURN(const checkpoint::ManifestTask* const task, LearnedTask(base.manifest, request.task()));
    ENGRAM_ASSIGN_OR_RETURN(const jobs::DatasetRecord dataset, DatasetOf(context, request, *task));
    const std::string fisher = request.fisher().empty() ? "sampled" : request.fisher();
    ENGRAM_RETURN_IF_ERROR(continual::ParseImportanceKind(fisher).status());
    if (fisher == "exact" && task->kind == checkpoint::TaskKind::kMaskedLanguageModel) {
      return InvalidField("fisher",
                          "exact needs one pass for each masked token and word of the vocabulary; use sampled");
    }
    if (request.samples() < 0 || request.samples() > kMaxSamples) {
      return InvalidField("samples",
                          absl::StrCat("must lie in [0, ", kMaxSamples, "]; 0 stands for ", kDefaultSamples));
    }
    PlannedJob job = MakeVersionJob(*this, base, request.task(), request.priority(), request.label());
    auto& work = *job.spec.mutable_consolidate();
    work.set_task(request.task());
    work.set_fisher(fisher);
    work.set_samples(request.samples() == 0 ? kDefaultSamples : request.samples());
    work.set_seed(request.seed());
    SetDataset(dataset, work.mutable_dataset());
    job.record.datasets = {dataset.name};
    auto& shown = *job.description.mutable_options();
    shown["fisher"] = fisher;
    shown["samples"] = absl::StrCat(std::min(work.samples(), dataset.training_rows));
    shown["seed"] = absl::StrCat(request.seed());
    shown["dataset"] = DatasetName(dataset.name);
    return job;
  }
};

const JobKindRegistration kRegistration(std::make_unique<ConsolidateKind>());

}  // namespace
}  // namespace engram::server
