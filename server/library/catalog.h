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
  // The manifest with what evaluations have measured since in its matrices.
  absl::StatusOr<checkpoint::VersionManifest> Measured(const std::string& model,
                                                       checkpoint::VersionManifest manifest) const;
  // FAILED_PRECONDITION with reason FORGOT_TOO_MUCH if a task of the version has lost more than `most` of its best
  // earlier score, in [0, 1]; with reason NOT_MEASURED if that is not known of one. Masked language models have no such
  // score and are not looked at.
  absl::Status CheckForgetting(const std::string& model, int64_t number, double most) const;
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
