#include "server/library/dataset_shelf.h"

#include <atomic>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/checkpoint/version_directory.h"
#include "server/rpc/names.h"

namespace engram::server {

absl::Status DatasetShelf::ClearTheWay(const std::string& name) {
  const std::string directory = paths_.dataset(name);
  if (!PathExists(directory)) return absl::OkStatus();
  ENGRAM_ASSIGN_OR_RETURN(const bool abandoned, store_.DatasetAbandoned(name));
  if (abandoned) return RemoveTree(directory);
  // A data set that the database knows nothing of may be of a newer copy of it: not ours to delete.
  ENGRAM_RETURN_IF_ERROR(MakeDirectories(paths_.lost_and_found()));
  std::string kept;
  for (int64_t n = 1; kept.empty() || PathExists(kept); ++n)
    kept = absl::StrCat(paths_.lost_and_found(), "/dataset-", name, "-", n);
  LogWarning("a data set that the database does not know was in the way and is kept in lost+found",
             {{"dataset", DatasetName(name)}});
  return RenameDurably(directory, kept);
}

absl::StatusOr<jobs::DatasetRecord> DatasetShelf::Put(
    const jobs::DatasetRecord& record, const std::function<absl::Status(const std::string& directory)>& fill) {
  absl::MutexLock lock(&changing_);
  const absl::StatusOr<jobs::DatasetRecord> known = store_.GetDataset(record.name);
  if (known.ok() && known->digest != record.digest) {
    return StatusWithReason(
        absl::StatusCode::kAlreadyExists, "DATASET_EXISTS",
        absl::StrCat("data set \"", record.name,
                     "\" exists with other content; data sets do not change: choose another name, or "
                     "delete it first"));
  }
  if (known.ok()) return known;
  ENGRAM_RETURN_IF_ERROR(MakeDirectories(paths_.datasets()));
  static std::atomic<int64_t> counter{0};
  const std::string staging = absl::StrCat(paths_.staging(), "/dataset-", ++counter);
  ENGRAM_RETURN_IF_ERROR(ClearTheWay(record.name));
  // Remembered first: if the server ends between the renaming and the record, the next start removes the directory.
  ENGRAM_RETURN_IF_ERROR(store_.ExpectDataset(record.name));
  ENGRAM_RETURN_IF_ERROR(checkpoint::BuildAndPublish(staging, paths_.dataset(record.name), fill));
  ENGRAM_RETURN_IF_ERROR(store_.AddDataset(record));
  return store_.GetDataset(record.name);
}

}  // namespace engram::server
