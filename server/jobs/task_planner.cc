#include "server/jobs/task_planner.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/files.h"
#include "core/checkpoint/model_config.h"
#include "core/continual/importance.h"
#include "core/corpus/dataset.h"
#include "core/tagging/bio.h"
#include "core/train/train_options.h"
#include "server/jobs/task_options.h"
#include "server/rpc/names.h"

namespace engram::server {
namespace {

using checkpoint::Pooling;
using checkpoint::TaskKind;
using engram::worker::v1::TrainWork;

absl::StatusOr<const checkpoint::ManifestTask*> LearnedTask(const checkpoint::VersionManifest& manifest,
                                                            const std::string& name) {
  ENGRAM_RETURN_IF_ERROR(CheckId("task", name));
  if (const checkpoint::ManifestTask* task = FindManifestTask(manifest, name)) return task;
  return StatusWithReason(
      absl::StatusCode::kFailedPrecondition, "TASK_NOT_LEARNED",
      absl::StrCat("this version has not learned task \"", name, "\"; train it first (`engram start-task`)"));
}

absl::Status CheckPriority(int32_t priority) {
  if (priority >= -1000 && priority <= 1000) return absl::OkStatus();
  return InvalidField("priority", "must lie in [-1000, 1000]");
}

absl::StatusOr<TaskKind> KindFor(engram::v1::TaskKind asked, corpus::DatasetKind dataset) {
  const bool tagged = dataset == corpus::DatasetKind::kTagging,
             labelled = dataset == corpus::DatasetKind::kClassification;
  switch (asked) {
    case engram::v1::TASK_KIND_SEQUENCE_CLASSIFICATION:
      if (!labelled) return InvalidField("kind", "is classification, but the data set has no labels");
      return TaskKind::kSequenceClassification;
    case engram::v1::TASK_KIND_TOKEN_CLASSIFICATION:
      if (!tagged)
        return InvalidField("kind", "is token classification, but the data set has no tags; CoNLL files have");
      return TaskKind::kTokenClassification;
    case engram::v1::TASK_KIND_MASKED_LANGUAGE_MODEL:
      if (tagged)
        return InvalidField("kind",
                            "is masked language modelling, but the data set holds tagged words; use plain text");
      return TaskKind::kMaskedLanguageModel;
    case engram::v1::TASK_KIND_UNSPECIFIED:
      return tagged     ? TaskKind::kTokenClassification
             : labelled ? TaskKind::kSequenceClassification
                        : TaskKind::kMaskedLanguageModel;
    default:
      return InvalidField("kind", "is no kind of task; leave it out, and it follows from the data set");
  }
}

// The outputs that a head of that kind has for a data set: its labels, or the tags of its entity types.
absl::StatusOr<std::vector<std::string>> OutputsOf(TaskKind kind, const jobs::DatasetRecord& dataset) {
  if (kind == TaskKind::kSequenceClassification) return dataset.labels;
  if (kind != TaskKind::kTokenClassification) return std::vector<std::string>();
  ENGRAM_ASSIGN_OR_RETURN(const tagging::TagSet tags, tagging::TagSet::FromTypes(dataset.labels));
  return tags.names();
}

// The labels of a task are fixed once it is learned.
absl::Status CheckLabels(const checkpoint::ManifestTask& task, const std::vector<std::string>& outputs) {
  constexpr size_t kShown = 20;
  const std::set<std::string> learned(task.labels.begin(), task.labels.end());
  for (const std::string& label : outputs) {
    if (learned.contains(label)) continue;
    const size_t shown = std::min(task.labels.size(), kShown);
    return InvalidField(
        "dataset",
        absl::StrCat("has the label \"", label, "\", which task \"", task.name,
                     "\" of this version does not have; its ", task.labels.size(), " labels are fixed (",
                     absl::StrJoin(task.labels.begin(), task.labels.begin() + shown, ", "),
                     shown < task.labels.size() ? ", ..." : "", "): choose another task name, or other data"));
  }
  return absl::OkStatus();
}

// INVALID_ARGUMENT for a data set that the task cannot be measured on.
absl::Status CheckMeasurable(const checkpoint::ManifestTask& task, const jobs::DatasetRecord& dataset) {
  const auto kind = static_cast<corpus::DatasetKind>(dataset.kind);
  const bool classified = task.kind == TaskKind::kSequenceClassification,
             tagged = task.kind == TaskKind::kTokenClassification;
  if (classified && kind != corpus::DatasetKind::kClassification)
    return InvalidField("dataset", absl::StrCat("has no labels to measure the classification task \"", task.name,
                                                "\" on; choose one with labels"));
  if (tagged != (kind == corpus::DatasetKind::kTagging))
    return InvalidField(
        "dataset", absl::StrCat(tagged ? "has no tags to measure" : "holds tagged words, but is to measure", " task \"",
                                task.name, "\"; choose another data set"));
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> outputs, OutputsOf(task.kind, dataset));
  return CheckLabels(task, outputs);
}

}  // namespace

absl::StatusOr<TaskPlanner::Base> TaskPlanner::OpenBase(const std::string& model, const std::string& version) const {
  Base base;
  ENGRAM_ASSIGN_OR_RETURN(base.model, ParseName("model", "models", model));
  ENGRAM_ASSIGN_OR_RETURN(base.version, store_.ResolveVersion(base.model, version));
  ENGRAM_ASSIGN_OR_RETURN(base.manifest, catalog_.Manifest(base.model, base.version));
  return base;
}

absl::StatusOr<Pooling> TaskPlanner::DefaultPooling(const Base& base) const {
  const std::string path = paths_.version(base.model, base.version) + "/1_Pooling/config.json";
  if (!PathExists(path)) return Pooling::kStandard;
  ENGRAM_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, 1 << 20));
  ENGRAM_ASSIGN_OR_RETURN(const checkpoint::PoolingMode mode, checkpoint::ParsePoolingConfig(text));
  return mode == checkpoint::PoolingMode::kMean ? Pooling::kMean : Pooling::kStandard;
}

absl::StatusOr<int64_t> TaskPlanner::LongestText(const Base& base) const {
  ENGRAM_ASSIGN_OR_RETURN(const jobs::VersionRecord record, store_.GetVersion(base.model, base.version));
  ENGRAM_ASSIGN_OR_RETURN(const engram::v1::Version version, catalog_.Describe(record));
  return version.max_tokens();
}

PlannedJob TaskPlanner::MakeJob(engram::v1::JobKind kind, const Base& base, const std::string& task, int32_t priority,
                                const std::string& label) {
  PlannedJob job;
  job.record.model = base.model;
  job.record.base_version = base.version;
  job.record.label = label;
  job.record.priority = priority;
  job.description.set_kind(kind);
  job.description.set_model(ModelName(base.model));
  job.description.set_task(task);
  job.description.set_base_version(VersionName(base.model, base.version));
  job.description.set_label(label);
  job.spec.set_kind(kind);
  job.spec.set_model(base.model);
  job.spec.set_base_version(base.version);
  return job;
}

// ---------------------------------------------------------------- StartTask

absl::Status TaskPlanner::FillHead(const engram::v1::StartTaskRequest& request, const Base& base,
                                   const jobs::DatasetRecord& dataset, TrainWork& work) const {
  ENGRAM_ASSIGN_OR_RETURN(const TaskKind kind, KindFor(request.kind(), static_cast<corpus::DatasetKind>(dataset.kind)));
  ENGRAM_ASSIGN_OR_RETURN(std::vector<std::string> labels, OutputsOf(kind, dataset));
  if (labels.size() > static_cast<size_t>(checkpoint::kMaxLabels)) {
    return InvalidField("dataset", absl::StrCat("has ", labels.size(), " classes or tags, and a head takes ",
                                                checkpoint::kMaxLabels, ": is its label column the right one?"));
  }
  Pooling pooling = Pooling::kStandard;
  if (kind == TaskKind::kSequenceClassification) {
    ENGRAM_ASSIGN_OR_RETURN(pooling, DefaultPooling(base));
  }
  const auto asked = request.options().find("pooling");
  if (asked != request.options().end())
    ENGRAM_RETURN_IF_ERROR(StartTaskOptionTable().Find("pooling")->Parse(asked->second).status());
  const bool pooling_asked = asked != request.options().end() && asked->second != kModelPooling;
  if (pooling_asked) {
    ENGRAM_ASSIGN_OR_RETURN(const Pooling named, checkpoint::ParsePooling(asked->second));
    if (kind != TaskKind::kSequenceClassification)
      return InvalidField("pooling", "only classification pools; leave it out");
    pooling = named;
  }
  if (const checkpoint::ManifestTask* known = FindManifestTask(base.manifest, request.task())) {
    if (known->kind != kind) {
      return InvalidField("task",
                          absl::StrCat("\"", known->name, "\" is a ", AbslView(checkpoint::TaskKindName(known->kind)),
                                       " task of this version; choose another name"));
    }
    ENGRAM_RETURN_IF_ERROR(CheckLabels(*known, labels));
    labels = known->labels;
    if (pooling_asked && pooling != known->pooling) {
      return InvalidField("pooling", absl::StrCat("the task's head has pooling ",
                                                  AbslView(checkpoint::PoolingName(known->pooling)), "; leave it out"));
    }
    pooling = known->pooling;
  }
  work.set_kind(std::string(checkpoint::TaskKindName(kind)));
  work.set_pooling(std::string(checkpoint::PoolingName(pooling)));
  for (const std::string& label : labels) work.add_labels(label);
  return absl::OkStatus();
}

absl::Status TaskPlanner::FillOptions(const engram::v1::StartTaskRequest& request, const Base& base,
                                      TrainWork& work) const {
  ENGRAM_ASSIGN_OR_RETURN(const TaskOptions asked,
                          ReadTaskOptions(request, static_cast<int64_t>(base.manifest.consolidations.size())));
  train::TrainOptions options;
  options.checkpoint_every_steps = checkpoint_every_steps_;
  for (const auto& [key, value] : asked.training) ENGRAM_RETURN_IF_ERROR(train::SetTrainOption(options, key, value));
  ENGRAM_ASSIGN_OR_RETURN(const int64_t longest, LongestText(base));
  if (!request.options().contains("max_length")) options.max_length = std::min(options.max_length, longest);
  if (options.max_length > longest) {
    return InvalidField("max_length",
                        absl::StrCat("is ", options.max_length, "; the model takes at most ", longest, " tokens"));
  }
  ENGRAM_RETURN_IF_ERROR(train::ValidateTrainOptions(options));

  work.set_strategy(asked.strategy->name);
  work.set_progress_every_steps(asked.task.Whole("progress_every"));
  for (const auto& [key, value] : asked.strategy_options.Render()) (*work.mutable_strategy_options())[key] = value;
  for (const auto& [key, value] : train::TrainOptionsToMap(options)) (*work.mutable_options())[key] = value;
  return absl::OkStatus();
}

absl::StatusOr<PlannedJob> TaskPlanner::Plan(const engram::v1::StartTaskRequest& request) const {
  ENGRAM_ASSIGN_OR_RETURN(const Base base, OpenBase(request.model(), request.base()));
  ENGRAM_RETURN_IF_ERROR(CheckId("task", request.task()));
  ENGRAM_RETURN_IF_ERROR(CheckPriority(request.priority()));
  if (!request.label().empty()) ENGRAM_RETURN_IF_ERROR(CheckId("label", request.label()));
  ENGRAM_ASSIGN_OR_RETURN(const std::string name, ParseName("dataset", "datasets", request.dataset()));
  ENGRAM_ASSIGN_OR_RETURN(const jobs::DatasetRecord dataset, store_.GetDataset(name));
  PlannedJob job = MakeJob(engram::v1::JOB_KIND_TRAIN, base, request.task(), request.priority(), request.label());
  TrainWork& work = *job.spec.mutable_train();
  work.set_task(request.task());
  work.mutable_dataset()->set_name(name);
  work.mutable_dataset()->set_digest(dataset.digest);
  ENGRAM_RETURN_IF_ERROR(FillHead(request, base, dataset, work));
  ENGRAM_RETURN_IF_ERROR(FillOptions(request, base, work));
  job.record.datasets = {name};

  auto& shown = *job.description.mutable_options();
  ENGRAM_ASSIGN_OR_RETURN(const auto options, ShowOptions(work));
  for (const auto& [key, value] : options) shown[key] = value;
  shown["dataset"] = DatasetName(name);
  shown["kind"] = work.kind();
  shown["pooling"] = work.pooling();
  shown["training_rows"] = absl::StrCat(dataset.training_rows);
  return job;
}

// ---------------------------------------------------------------- ConsolidateTask, EvaluateTask

absl::StatusOr<jobs::DatasetRecord> TaskPlanner::TrainedDataset(const checkpoint::ManifestTask& task) const {
  absl::StatusOr<jobs::DatasetRecord> dataset = store_.GetDataset(task.dataset);
  if (task.dataset.empty() || absl::IsNotFound(dataset.status()) ||
      (dataset.ok() && dataset->digest != task.dataset_digest)) {
    return StatusWithReason(absl::StatusCode::kFailedPrecondition, "DATASET_GONE",
                            absl::StrCat("the data set that task \"", task.name,
                                         "\" was trained on is not on this server any more; upload it again",
                                         task.dataset.empty() ? "" : absl::StrCat(" as \"", task.dataset, "\"")));
  }
  return dataset;
}

absl::StatusOr<PlannedJob> TaskPlanner::Plan(const engram::v1::ConsolidateTaskRequest& request) const {
  ENGRAM_ASSIGN_OR_RETURN(const Base base, OpenBase(request.model(), request.base()));
  ENGRAM_RETURN_IF_ERROR(CheckPriority(request.priority()));
  if (!request.label().empty()) ENGRAM_RETURN_IF_ERROR(CheckId("label", request.label()));
  ENGRAM_ASSIGN_OR_RETURN(const checkpoint::ManifestTask* const task, LearnedTask(base.manifest, request.task()));
  ENGRAM_ASSIGN_OR_RETURN(const jobs::DatasetRecord dataset, TrainedDataset(*task));
  const std::string fisher = request.fisher().empty() ? "sampled" : request.fisher();
  ENGRAM_RETURN_IF_ERROR(continual::ParseImportanceKind(fisher).status());
  if (fisher == "exact" && task->kind != TaskKind::kSequenceClassification) {
    return InvalidField("fisher", "exact sums over all classes of a text, which only classification has; use sampled");
  }
  constexpr int64_t kDefaultSamples = 1000, kMaxSamples = 10'000'000;
  if (request.samples() < 0 || request.samples() > kMaxSamples) {
    return InvalidField("samples", absl::StrCat("must lie in [0, ", kMaxSamples, "]; 0 stands for ", kDefaultSamples));
  }
  PlannedJob job = MakeJob(engram::v1::JOB_KIND_CONSOLIDATE, base, request.task(), request.priority(), request.label());
  auto& work = *job.spec.mutable_consolidate();
  work.set_task(request.task());
  work.set_fisher(fisher);
  work.set_samples(request.samples() == 0 ? kDefaultSamples : request.samples());
  work.set_seed(request.seed());
  work.mutable_dataset()->set_name(dataset.name);
  work.mutable_dataset()->set_digest(dataset.digest);
  job.record.datasets = {dataset.name};
  auto& shown = *job.description.mutable_options();
  shown["fisher"] = fisher;
  shown["samples"] = absl::StrCat(std::min(work.samples(), dataset.training_rows));
  shown["seed"] = absl::StrCat(request.seed());
  shown["dataset"] = DatasetName(dataset.name);
  return job;
}

absl::StatusOr<PlannedJob> TaskPlanner::Plan(const engram::v1::EvaluateTaskRequest& request) const {
  ENGRAM_ASSIGN_OR_RETURN(const Base base, OpenBase(request.model(), request.base()));
  ENGRAM_RETURN_IF_ERROR(CheckPriority(request.priority()));
  PlannedJob job = MakeJob(engram::v1::JOB_KIND_EVALUATE, base, request.task(), request.priority(), "");
  std::vector<const checkpoint::ManifestTask*> tasks;
  if (request.task().empty()) {
    if (!request.dataset().empty()) return InvalidField("dataset", "goes with one task; name the task too");
    for (const checkpoint::ManifestTask& task : base.manifest.tasks) tasks.push_back(&task);
    if (tasks.empty()) {
      return StatusWithReason(absl::StatusCode::kFailedPrecondition, "NO_TASKS",
                              "this version has learned no task yet; train one first");
    }
  } else {
    ENGRAM_ASSIGN_OR_RETURN(const checkpoint::ManifestTask* const task, LearnedTask(base.manifest, request.task()));
    tasks.push_back(task);
  }
  for (const checkpoint::ManifestTask* task : tasks) {
    absl::StatusOr<jobs::DatasetRecord> dataset;
    if (request.dataset().empty()) {
      dataset = TrainedDataset(*task);
    } else {
      ENGRAM_ASSIGN_OR_RETURN(const std::string name, ParseName("dataset", "datasets", request.dataset()));
      dataset = store_.GetDataset(name);
    }
    if (!dataset.ok()) return dataset.status();
    ENGRAM_RETURN_IF_ERROR(CheckMeasurable(*task, *dataset));
    auto* item = job.spec.mutable_evaluate()->add_items();
    item->set_task(task->name);
    item->mutable_dataset()->set_name(dataset->name);
    item->mutable_dataset()->set_digest(dataset->digest);
    job.record.datasets.push_back(dataset->name);
    (*job.description.mutable_options())[absl::StrCat("dataset of ", task->name)] = absl::StrCat(
        DatasetName(dataset->name), dataset->test_rows > 0 ? " (test part)" : " (training part: it has no test part)");
  }
  return job;
}

}  // namespace engram::server
