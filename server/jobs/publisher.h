#pragma once

// What a job leaves on disk once it ends: its output becomes a version or a data set, its run directory goes. Blocking,
// and without any lock of the jobs. Thread-safe for different jobs.

#include <optional>
#include <string>
#include <utility>

#include "core/base/status.h"
#include "core/jobs/store.h"
#include "engram/v1/job.pb.h"
#include "server/data_paths.h"
#include "server/library/dataset_shelf.h"

namespace engram::server {

struct Published {
  std::optional<jobs::VersionRecord> version;  // what makes it visible once it is stored
  std::string dataset;                         // the short name of a data set, visible already; empty: none
};

class Publisher {
 public:
  Publisher(DataPaths paths, DatasetShelf& shelf) : paths_(std::move(paths)), shelf_(shelf) {}

  // A version: renames runs/<job>/output to the one that was reserved for the job (it appears whole or not at all) and
  // reads its manifest. A data set: copies the output. Neither for a job that makes nothing. May be called again after
  // any end, a kill included. ALREADY_EXISTS (VERSION_EXISTS, DATASET_EXISTS) if something else lies there; other errors
  // where the same may succeed later.
  absl::StatusOr<Published> Publish(const jobs::JobRecord& job, const engram::v1::JobResult& result) const;

  // Only once the job's end is stored: its checkpoint and its result are in there.
  absl::Status RemoveRun(const std::string& job) const;
  // All but its checkpoint, so that the job can be resumed from there.
  absl::Status TrimRun(const std::string& job) const;

 private:
  // Files of a version that the version before it has, too, become one. Saves disk and nothing else: where it fails, they
  // stay two.
  void ShareWithParent(const jobs::JobRecord& job, const std::string& output) const;
  absl::StatusOr<Published> PublishVersion(const jobs::JobRecord& job, const engram::v1::JobResult& result) const;
  absl::StatusOr<Published> PublishDataset(const jobs::JobRecord& job, const std::string& name,
                                           const engram::v1::JobResult& result) const;

  const DataPaths paths_;
  DatasetShelf& shelf_;
};

}  // namespace engram::server
