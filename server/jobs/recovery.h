#pragma once

// What a crash between two steps leaves below data_dir, and its removal.

#include "core/base/status.h"
#include "core/jobs/store.h"
#include "server/data_paths.h"

namespace engram::server {

// Removes what nobody can reach any more: staging; directories of versions whose number the store gave out but which
// neither a version nor an unfinished job has (the crash came between the rename and the transaction of an import, or
// in the middle of a deletion); directories of data sets that the store does not know. Version numbers that the store
// never gave out are left alone, with a warning in the log: an older copy of the database may have been put back.
//
// To be called at the start, before anything else writes to data_dir.
absl::Status RemoveOrphans(jobs::Store& store, const DataPaths& paths);

}  // namespace engram::server
