#pragma once

// What a crash between two steps leaves below data_dir, and its removal.

#include "core/base/status.h"
#include "core/jobs/store.h"
#include "server/data_mark.h"
#include "server/data_paths.h"

namespace engram::server {

// Removes what a crash or an interrupted deletion left: staging; directories of versions and data sets that the store
// remembers as about to appear or as deleted. What it knows nothing of is left alone, with a warning in the log: it may be
// an older copy. Numbers of versions that lie on disk are not given out again, and an unfinished job whose number is
// taken by a directory that is not its own gets another.
//
// kOlder: nothing at all is removed but staging.
//
// To be called at the start, before anything else writes to data_dir.
absl::Status RemoveOrphans(jobs::Store& store, const DataPaths& paths, DatabaseAge age);

}  // namespace engram::server
