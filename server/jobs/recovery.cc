#include "server/jobs/recovery.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "server/rpc/names.h"

namespace engram::server {
namespace {

// Entries of a directory; none if it is not there yet.
absl::StatusOr<std::vector<std::string>> Entries(const std::string& directory) {
  if (!PathExists(directory)) return std::vector<std::string>();
  return ListDirectory(directory);
}

absl::Status RemoveVersions(jobs::Store& store, const DataPaths& paths, const std::string& model) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> entries, Entries(paths.versions(model)));
  int64_t highest = 0;
  for (const std::string& entry : entries) {
    int64_t number = 0;
    if (!absl::SimpleAtoi(entry, &number)) continue;
    highest = std::max(highest, number);
    ENGRAM_ASSIGN_OR_RETURN(const jobs::NumberUse use, store.UseOfNumber(model, number));
    if (use == jobs::NumberUse::kAbandoned) {
      ENGRAM_RETURN_IF_ERROR(RemoveTree(paths.version(model, number)));
      LogInfo("a version that was never finished, or deleted, is removed", {{"version", VersionName(model, number)}});
    } else if (use == jobs::NumberUse::kUnknown) {
      LogWarning("a version is unknown to the database and left alone", {{"version", VersionName(model, number)}});
    }
  }
  return highest > 0 ? store.SkipNumbers(model, highest) : absl::OkStatus();
}

absl::Status RemoveDatasets(jobs::Store& store, const DataPaths& paths) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> datasets, Entries(paths.datasets()));
  for (const std::string& dataset : datasets) {
    ENGRAM_ASSIGN_OR_RETURN(const bool abandoned, store.DatasetAbandoned(dataset));
    if (abandoned) {
      ENGRAM_RETURN_IF_ERROR(RemoveTree(paths.dataset(dataset)));
      LogInfo("a data set that was never finished, or deleted, is removed", {{"dataset", DatasetName(dataset)}});
    } else if (absl::IsNotFound(store.GetDataset(dataset).status())) {
      LogWarning("a data set is unknown to the database and left alone", {{"dataset", DatasetName(dataset)}});
    }
  }
  return absl::OkStatus();
}

// A job that would train to its end and find another version in the place of its own.
absl::Status RenumberJobs(jobs::Store& store, const DataPaths& paths) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<jobs::JobRecord> unfinished, store.UnfinishedJobs());
  for (const jobs::JobRecord& job : unfinished) {
    // With a result, the version may be its own: the server ended between the renaming and the transaction.
    if (job.version == 0 || !PathExists(paths.version(job.model, job.version)) ||
        PathExists(paths.run(job.id) + "/result.binpb"))
      continue;
    ENGRAM_ASSIGN_OR_RETURN(const int64_t number, store.RenumberJob(job.id));
    LogWarning("a job's version gets another number: a directory has its own",
               {{"job", job.id}, {"version", VersionName(job.model, number)}});
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RemoveOrphans(jobs::Store& store, const DataPaths& paths, DatabaseAge age) {
  ENGRAM_RETURN_IF_ERROR(RemoveTree(paths.staging()));
  ENGRAM_RETURN_IF_ERROR(MakeDirectories(paths.staging()));
  if (age == DatabaseAge::kOlder) {
    LogWarning("the database is an older copy: what it does not know is left alone");
    ENGRAM_RETURN_IF_ERROR(store.ForgetRemovals());
  }
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> models, Entries(paths.models()));
  for (const std::string& model : models) ENGRAM_RETURN_IF_ERROR(RemoveVersions(store, paths, model));
  ENGRAM_RETURN_IF_ERROR(RemoveDatasets(store, paths));
  ENGRAM_RETURN_IF_ERROR(RenumberJobs(store, paths));
  return store.ForgetRemovals();
}

}  // namespace engram::server
