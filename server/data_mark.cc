#include "server/data_mark.h"

#include <string>
#include <vector>

#include "core/base/files.h"
#include "nlohmann/json.hpp"

namespace engram::server {
namespace {

constexpr const char *kDatabase = "database", *kStarts = "starts";

absl::StatusOr<bool> HasEntries(const std::string& directory) {
  if (!PathExists(directory)) return false;
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> entries, ListDirectory(directory));
  return !entries.empty();
}

absl::StatusOr<jobs::DatabaseIdentity> ReadMark(const DataPaths& paths) {
  constexpr size_t kMaxBytes = 4096;
  ENGRAM_ASSIGN_OR_RETURN(const std::string text, ReadFile(paths.mark(), kMaxBytes));
  const nlohmann::json mark = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!mark.is_object() || !mark.contains(kDatabase) || !mark[kDatabase].is_string() || !mark.contains(kStarts) ||
      !mark[kStarts].is_number_integer()) {
    return StatusWithReason(absl::StatusCode::kFailedPrecondition, "MARK_DAMAGED",
                            "engram.mark in data_dir is damaged; if engram.db is the newest copy that there is, delete "
                            "engram.mark and start again");
  }
  return jobs::DatabaseIdentity{mark[kDatabase].get<std::string>(), mark[kStarts].get<int64_t>()};
}

}  // namespace

absl::Status CheckDatabaseIsThere(const DataPaths& paths) {
  if (FileBytes(paths.database()).value_or(0) > 0) return absl::OkStatus();
  ENGRAM_ASSIGN_OR_RETURN(const bool models, HasEntries(paths.models()));
  ENGRAM_ASSIGN_OR_RETURN(const bool datasets, HasEntries(paths.datasets()));
  if (!models && !datasets && !PathExists(paths.mark())) return absl::OkStatus();
  return StatusWithReason(
      absl::StatusCode::kFailedPrecondition, "DATABASE_MISSING",
      "engram.db in data_dir is missing or empty, but models or data sets of it are there; nothing was changed. Put "
      "engram.db (and engram.db-wal, if there is one) back from a backup; to begin with an empty server, move the "
      "other "
      "contents of data_dir elsewhere");
}

absl::StatusOr<DatabaseAge> MarkStart(jobs::Store& store, const DataPaths& paths) {
  ENGRAM_ASSIGN_OR_RETURN(const jobs::DatabaseIdentity here, store.Identity());
  jobs::DatabaseIdentity marked = here;
  if (PathExists(paths.mark())) {
    ENGRAM_ASSIGN_OR_RETURN(marked, ReadMark(paths));
  }
  if (marked.id != here.id) {
    return StatusWithReason(absl::StatusCode::kFailedPrecondition, "DATABASE_FOREIGN",
                            "engram.db in data_dir is not the database that the models and data sets there belong to; "
                            "nothing was changed. Put the right one back; if this one is right, delete engram.mark");
  }
  // The database first: if the mark is not written, the next start finds it behind, which means nothing.
  ENGRAM_ASSIGN_OR_RETURN(const jobs::DatabaseIdentity counted, store.CountStart(marked.starts));
  const nlohmann::json mark = {{kDatabase, counted.id}, {kStarts, counted.starts}};
  ENGRAM_RETURN_IF_ERROR(WriteFileAtomic(paths.mark(), mark.dump() + "\n"));
  return here.starts < marked.starts ? DatabaseAge::kOlder : DatabaseAge::kCurrent;
}

}  // namespace engram::server
