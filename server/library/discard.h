#pragma once

// The way out for directories of versions and data sets.

#include <string>

#include "core/base/status.h"
#include "server/data_paths.h"

namespace engram::server {

// Takes `directory` (below data_dir) out of its place by a rename into staging, and says where it lies now; empty if it
// was not there. Cheap, for a caller that holds a lock; from then on the name is free, and a crash leaves nothing but
// what the next start removes with all of staging (RemoveOrphans). Thread-safe.
absl::StatusOr<std::string> MoveToStaging(const DataPaths& paths, const std::string& directory);

// Deletes what MoveToStaging gave; takes as long as its files take. What cannot be deleted is left to the next start,
// with a warning in the log: nobody can reach it any more.
void RemoveStaged(const std::string& staged);

}  // namespace engram::server
