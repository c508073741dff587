#include "server/jobs/recovery.h"

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
  for (const std::string& entry : entries) {
    int64_t number = 0;
    if (!absl::SimpleAtoi(entry, &number)) continue;
    ENGRAM_ASSIGN_OR_RETURN(const jobs::NumberUse use, store.UseOfNumber(model, number));
    if (use == jobs::NumberUse::kAbandoned) {
      ENGRAM_RETURN_IF_ERROR(RemoveTree(paths.version(model, number)));
      LogInfo("a version that was never finished is removed", {{"version", VersionName(model, number)}});
    } else if (use == jobs::NumberUse::kUnknown) {
      LogWarning("a version is unknown to the database and left alone", {{"version", VersionName(model, number)}});
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RemoveOrphans(jobs::Store& store, const DataPaths& paths) {
  ENGRAM_RETURN_IF_ERROR(RemoveTree(paths.staging()));
  ENGRAM_RETURN_IF_ERROR(MakeDirectories(paths.staging()));
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> models, Entries(paths.models()));
  for (const std::string& model : models) ENGRAM_RETURN_IF_ERROR(RemoveVersions(store, paths, model));
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> datasets, Entries(paths.datasets()));
  for (const std::string& dataset : datasets) {
    if (!absl::IsNotFound(store.GetDataset(dataset).status())) continue;
    ENGRAM_RETURN_IF_ERROR(RemoveTree(paths.dataset(dataset)));
    LogInfo("a data set that was never finished is removed", {{"dataset", DatasetName(dataset)}});
  }
  return absl::OkStatus();
}

}  // namespace engram::server
