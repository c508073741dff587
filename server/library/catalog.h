#pragma once

// Versions as the API shows them: what the store knows together with engram.json. Reads files and the database, so it
// belongs into a pool. Thread-safe.

#include <string>

#include "core/base/status.h"
#include "core/checkpoint/manifest.h"
#include "core/checkpoint/model_config.h"
#include "core/jobs/store.h"
#include "engram/v1/dataset.pb.h"
#include "engram/v1/model.pb.h"
#include "server/data_paths.h"

namespace engram::server {

class Catalog {
 public:
  Catalog(jobs::Store& store, DataPaths paths) : store_(store), paths_(std::move(paths)) {}

  absl::StatusOr<checkpoint::VersionManifest> Manifest(const std::string& model, int64_t number) const;
  // config.json of a version.
  absl::StatusOr<checkpoint::ModelConfig> Config(const std::string& model, int64_t number) const;
  absl::StatusOr<engram::v1::Version> Describe(const jobs::VersionRecord& record) const;
  // What evaluations have measured on a version so far, oldest first.
  absl::StatusOr<google::protobuf::RepeatedPtrField<engram::v1::Metric>> Evaluations(const std::string& model,
                                                                                     int64_t number) const;
  // The metrics of the stream after that version, its evaluations included.
  absl::StatusOr<google::protobuf::RepeatedPtrField<engram::v1::StreamMetrics>> Stream(
      const std::string& model, checkpoint::VersionManifest manifest) const;
  static engram::v1::Model Describe(const jobs::ModelRecord& record);
  static engram::v1::Dataset Describe(const jobs::DatasetRecord& record);

 private:
  jobs::Store& store_;
  const DataPaths paths_;
};

void SetTimestamp(absl::Time time, google::protobuf::Timestamp* out);

}  // namespace engram::server
