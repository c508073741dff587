#include "server/jobs/plan_context.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/files.h"
#include "core/corpus/dataset.h"
#include "core/tagging/bio.h"
#include "server/rpc/names.h"

namespace engram::server {

absl::StatusOr<BaseVersion> OpenBase(const PlanContext& context, const std::string& model, const std::string& version) {
  BaseVersion base;
  ENGRAM_ASSIGN_OR_RETURN(base.model, ParseName("model", "models", model));
  ENGRAM_ASSIGN_OR_RETURN(base.number, context.store.ResolveVersion(base.model, version));
  ENGRAM_ASSIGN_OR_RETURN(base.manifest, context.catalog.Manifest(base.model, base.number));
  ENGRAM_ASSIGN_OR_RETURN(base.evaluations, context.catalog.Evaluations(base.model, base.number));
  return base;
}

absl::StatusOr<int64_t> LongestText(const PlanContext& context, const BaseVersion& base) {
  ENGRAM_ASSIGN_OR_RETURN(const checkpoint::ModelConfig config, context.catalog.Config(base.model, base.number));
  return config.max_length();
}

absl::StatusOr<const checkpoint::ManifestTask*> LearnedTask(const checkpoint::VersionManifest& manifest,
                                                            const std::string& name) {
  ENGRAM_RETURN_IF_ERROR(CheckId("task", name));
  if (const checkpoint::ManifestTask* task = FindManifestTask(manifest, name)) return task;
  return StatusWithReason(
      absl::StatusCode::kFailedPrecondition, "TASK_NOT_LEARNED",
      absl::StrCat("this version has not learned task \"", name, "\"; train it first (`engram start-task`)"));
}

absl::StatusOr<jobs::DatasetRecord> TrainedDataset(const PlanContext& context, const checkpoint::ManifestTask& task) {
  absl::StatusOr<jobs::DatasetRecord> dataset = context.store.GetDataset(task.dataset);
  if (task.dataset.empty() || absl::IsNotFound(dataset.status()) ||
      (dataset.ok() && dataset->digest != task.dataset_digest)) {
    return StatusWithReason(absl::StatusCode::kFailedPrecondition, "DATASET_GONE",
                            absl::StrCat("the data set that task \"", task.name,
                                         "\" was trained on is not on this server any more; upload it again",
                                         task.dataset.empty() ? "" : absl::StrCat(" as \"", task.dataset, "\"")));
  }
  return dataset;
}

absl::StatusOr<jobs::DatasetRecord> FindDataset(const PlanContext& context, const std::string& name) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string id, ParseName("dataset", "datasets", name));
  return context.store.GetDataset(id);
}

absl::Status CheckPriority(int32_t priority) {
  if (priority >= -1000 && priority <= 1000) return absl::OkStatus();
  return InvalidField("priority", "must lie in [-1000, 1000]");
}

absl::StatusOr<std::vector<std::string>> OutputsOf(checkpoint::TaskKind kind, const jobs::DatasetRecord& dataset) {
  if (kind == checkpoint::TaskKind::kSequenceClassification) return dataset.labels;
  if (kind != checkpoint::TaskKind::kTokenClassification) return std::vector<std::string>();
  if (static_cast<corpus::DatasetKind>(dataset.kind) == corpus::DatasetKind::kWordTags) return dataset.labels;
  ENGRAM_ASSIGN_OR_RETURN(const tagging::TagSet tags, tagging::TagSet::FromTypes(dataset.labels));
  return tags.names();
}

absl::Status CheckRows(const checkpoint::ManifestTask& task, const jobs::DatasetRecord& dataset) {
  const auto kind = static_cast<corpus::DatasetKind>(dataset.kind);
  const auto unfit = [&](const char* rows, const char* task_is) {
    return InvalidField("dataset", absl::StrCat("\"", dataset.name, "\" ", rows, " task \"", task.name, "\" ", task_is,
                                                "; choose another data set"));
  };
  switch (task.kind) {
    case checkpoint::TaskKind::kSequenceClassification:
      if (!corpus::HasLabels(kind)) return unfit("has no labels, but", "is a classification");
      if (!task.imported() && task.text_pairs != (kind == corpus::DatasetKind::kPairs)) {
        return task.text_pairs ? unfit("has single texts, but", "was learned on pairs")
                               : unfit("has pairs of texts, but", "was learned on single ones");
      }
      return absl::OkStatus();
    case checkpoint::TaskKind::kTokenClassification: {
      if (!corpus::HasTags(kind)) return unfit("has no tags, but", "tags words");
      ENGRAM_ASSIGN_OR_RETURN(const tagging::TagSet tags, tagging::TagSet::FromTags(task.labels));
      const bool of_words = tags.reading() == tagging::TagReading::kWords;
      if (of_words == (kind == corpus::DatasetKind::kWordTags)) return absl::OkStatus();
      return of_words ? unfit("has entities, but", "gives each word a tag of its own")
                      : unfit("has tags that make no entities, but", "finds entities");
    }
    case checkpoint::TaskKind::kMaskedLanguageModel:
      if (corpus::HasTags(kind)) return unfit("has tagged words, but", "is learned on plain texts");
      if (kind == corpus::DatasetKind::kPairs) return unfit("has pairs of texts, but", "is learned on plain texts");
      return absl::OkStatus();
  }
  return absl::InternalError("unknown kind of task");
}

absl::Status CheckLabels(const checkpoint::ManifestTask& task, const std::vector<std::string>& outputs) {
  constexpr size_t kShown = 20;
  std::set<std::string> learned(task.labels.begin(), task.labels.end());
  if (task.kind == checkpoint::TaskKind::kTokenClassification) {
    // An imported tagger may write its tags otherwise: the types count.
    ENGRAM_ASSIGN_OR_RETURN(const tagging::TagSet tags, tagging::TagSet::FromTags(task.labels));
    for (const std::string& tag : outputs) {
      const auto split = tagging::ParseTag(tag);
      if (tags.outside() != tagging::TagSet::kNone && split &&
          (split->prefix == 'O' || tags.FindType(split->type) != tagging::TagSet::kNone))
        learned.insert(tag);
    }
  }
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

void SetDataset(const jobs::DatasetRecord& dataset, engram::worker::v1::RunDataset* out) {
  out->set_name(dataset.name);
  out->set_digest(dataset.digest);
  out->mutable_labels()->Assign(dataset.labels.begin(), dataset.labels.end());
}

void FillDatasetPaths(const DataPaths& paths, engram::worker::v1::RunDataset* dataset) {
  dataset->set_training_path(paths.training(dataset->name()));
  if (PathExists(paths.test(dataset->name()))) dataset->set_test_path(paths.test(dataset->name()));
  if (PathExists(paths.validation(dataset->name()))) dataset->set_validation_path(paths.validation(dataset->name()));
}

}  // namespace engram::server
