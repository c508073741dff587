#pragma once

// Who would miss a data set. Reads the manifests, and the memories, of all versions, so it belongs into a pool.

#include "core/base/status.h"
#include "core/jobs/store.h"
#include "engram/v1/dataset.pb.h"
#include "server/data_paths.h"

namespace engram::server {

// Fills in the versions that keep training texts of tasks learned from it, and the tasks learned from it of versions
// that are served: those that a label points to, and the newest of a model without the label "stable". A version whose
// files are missing is passed over: nobody can use it. Thread-safe.
absl::Status FindDatasetUses(jobs::Store& store, const DataPaths& paths, const jobs::DatasetRecord& dataset,
                             engram::v1::DeleteDatasetResponse& out);

}  // namespace engram::server
