#pragma once

// What a plan may look at, and the checks that several kinds of jobs share. Nothing here stores anything; all of it is
// thread-safe. Errors name the request's field.

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/checkpoint/manifest.h"
#include "core/checkpoint/task_kind.h"
#include "core/jobs/store.h"
#include "engram/worker/v1/worker.pb.h"
#include "server/data_paths.h"
#include "server/library/catalog.h"

namespace engram::server {

// What the configuration says of collections of pages.
struct CollectionLimits {
  std::vector<std::string> allowed_hosts;  // "127.0.0.1:8080": may be asked although they are not public
  int64_t max_cache_bytes = 0;             // 0: no copies are kept
  int64_t max_dataset_bytes = int64_t{1} << 30;
};

// Outlived by what it refers to.
struct PlanContext {
  jobs::Store& store;
  const Catalog& catalog;
  const DataPaths& paths;
  int64_t checkpoint_every_steps = 0;  // of a training that does not say; 0: only when it is stopped
  CollectionLimits collection = {};
  int64_t memory_retention_days = 0;  // 0: texts that versions keep are replayed whatever their age
};

// The version that a job starts from.
struct BaseVersion {
  std::string model;
  int64_t number = 0;
  checkpoint::VersionManifest manifest;
  google::protobuf::RepeatedPtrField<engram::v1::Metric> evaluations;  // of the version, so far
};

// `model`: "models/news" or "news"; `version`: a number, a label, or empty (store.h, ResolveVersion).
absl::StatusOr<BaseVersion> OpenBase(const PlanContext& context, const std::string& model, const std::string& version);
// The most tokens that the version takes in one text, special tokens included.
absl::StatusOr<int64_t> LongestText(const PlanContext& context, const BaseVersion& base);
// FAILED_PRECONDITION (TASK_NOT_LEARNED) if the version has no such task. The task lives in `manifest`.
absl::StatusOr<const checkpoint::ManifestTask*> LearnedTask(const checkpoint::VersionManifest& manifest,
                                                            const std::string& name);
// The data set that a task was trained on; FAILED_PRECONDITION (DATASET_GONE) if it is not here or another by now.
absl::StatusOr<jobs::DatasetRecord> TrainedDataset(const PlanContext& context, const checkpoint::ManifestTask& task);
// "datasets/emotion" or "emotion".
absl::StatusOr<jobs::DatasetRecord> FindDataset(const PlanContext& context, const std::string& name);

absl::Status CheckPriority(int32_t priority);
// The outputs that a head of that kind has for a data set: its labels, the tags of its entity types or its tags of words;
// none for masked language models.
absl::StatusOr<std::vector<std::string>> OutputsOf(checkpoint::TaskKind kind, const jobs::DatasetRecord& dataset);
// INVALID_ARGUMENT (field "dataset") for rows that the task cannot read: of another kind, single texts where it was learned
// on pairs and the reverse, tags that make entities where its own do not and the reverse. An imported classifier takes
// single texts and pairs.
absl::Status CheckRows(const checkpoint::ManifestTask& task, const jobs::DatasetRecord& dataset);
// The labels of a task are fixed once it is learned: INVALID_ARGUMENT if `outputs` has one that it lacks.
absl::Status CheckLabels(const checkpoint::ManifestTask& task, const std::vector<std::string>& outputs);

// Name and digest, by which the worker knows a data set again.
void SetDataset(const jobs::DatasetRecord& dataset, engram::worker::v1::RunDataset* out);
// Where its files lie.
void FillDatasetPaths(const DataPaths& paths, engram::worker::v1::RunDataset* dataset);

}  // namespace engram::server
