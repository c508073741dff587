#pragma once

// From a request of TaskService to what will be queued: every check, every default, nothing stored.

#include <cstdint>
#include <string>

#include "core/base/status.h"
#include "core/jobs/store.h"
#include "engram/v1/task.pb.h"
#include "engram/worker/v1/worker.pb.h"
#include "server/data_paths.h"
#include "server/library/catalog.h"

namespace engram::server {

struct PlannedJob {
  jobs::JobRecord record;
  engram::v1::Job description;
  engram::worker::v1::RunSpec spec;
};

class TaskPlanner {
 public:
  TaskPlanner(jobs::Store& store, const Catalog& catalog, DataPaths paths, int64_t checkpoint_every_steps)
      : store_(store), catalog_(catalog), paths_(std::move(paths)), checkpoint_every_steps_(checkpoint_every_steps) {}

  absl::StatusOr<PlannedJob> Plan(const engram::v1::StartTaskRequest& request) const;
  absl::StatusOr<PlannedJob> Plan(const engram::v1::ConsolidateTaskRequest& request) const;
  absl::StatusOr<PlannedJob> Plan(const engram::v1::EvaluateTaskRequest& request) const;

 private:
  struct Base {
    std::string model;
    int64_t version = 0;
    checkpoint::VersionManifest manifest;
    google::protobuf::RepeatedPtrField<engram::v1::Metric> evaluations;  // of the version, so far
  };
  absl::StatusOr<Base> OpenBase(const std::string& model, const std::string& version) const;
  absl::StatusOr<checkpoint::Pooling> DefaultPooling(const Base& base) const;
  absl::StatusOr<int64_t> LongestText(const Base& base) const;
  absl::StatusOr<jobs::DatasetRecord> TrainedDataset(const checkpoint::ManifestTask& task) const;
  absl::Status FillHead(const engram::v1::StartTaskRequest& request, const Base& base,
                        const jobs::DatasetRecord& dataset, engram::worker::v1::TrainWork& work) const;
  absl::Status FillOptions(const engram::v1::StartTaskRequest& request, const Base& base,
                           engram::worker::v1::TrainWork& work) const;
  static PlannedJob MakeJob(engram::v1::JobKind kind, const Base& base, const std::string& task, int32_t priority,
                            const std::string& label);

  jobs::Store& store_;
  const Catalog& catalog_;
  const DataPaths paths_;
  const int64_t checkpoint_every_steps_;
};

}  // namespace engram::server
