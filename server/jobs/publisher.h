#pragma once

// What a job leaves on disk once it ends: its output becomes a version, its run directory goes. Blocking, and without
// any lock. Thread-safe for different jobs.

#include <optional>
#include <string>
#include <utility>

#include "core/base/status.h"
#include "core/jobs/store.h"
#include "engram/v1/job.pb.h"
#include "server/data_paths.h"

namespace engram::server {

class Publisher {
 public:
  explicit Publisher(DataPaths paths) : paths_(std::move(paths)) {}

  // Renames runs/<job>/output to the version that was reserved for the job (it appears whole or not at all) and reads
  // its manifest: the record that makes it visible once it is stored. nullopt for a job that makes no version. May be
  // called again after any end, a kill included. VERSION_EXISTS (ALREADY_EXISTS) if something else lies there;
  // other errors where the same may succeed later.
  absl::StatusOr<std::optional<jobs::VersionRecord>> Publish(const jobs::JobRecord& job,
                                                             const engram::v1::JobResult& result) const;

  // Only once the job's end is stored: its checkpoint and its result are in there.
  absl::Status RemoveRun(const std::string& job) const;
  // All but its checkpoint, so that the job can be resumed from there.
  absl::Status TrimRun(const std::string& job) const;

 private:
  const DataPaths paths_;
};

}  // namespace engram::server
