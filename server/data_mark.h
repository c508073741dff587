#pragma once

// A file beside the database, engram.mark, that says which database the directories of data_dir belong to and how often
// a server has started with it. Without it nobody would notice that a database was lost, or that an older copy was put
// back: everything that such a copy does not know would look like what a crash left.

#include "core/base/status.h"
#include "core/jobs/store.h"
#include "server/data_paths.h"

namespace engram::server {

// Before the database is opened, which would make a new one. FAILED_PRECONDITION (DATABASE_MISSING) if it is not there or
// empty although data_dir holds models, data sets or a mark; the message says what to do. Changes nothing.
absl::Status CheckDatabaseIsThere(const DataPaths& paths);

// Whether the database is as new as the directories beside it.
enum class DatabaseAge {
  kCurrent,
  kOlder,  // a copy of an earlier day: it does not know all that lies there
};

// Compares the database with the mark, then counts this start in both. FAILED_PRECONDITION (DATABASE_FOREIGN) if the mark
// is of another database. A data_dir without a mark, of an earlier Engram or a new one, gets it.
absl::StatusOr<DatabaseAge> MarkStart(jobs::Store& store, const DataPaths& paths);

}  // namespace engram::server
