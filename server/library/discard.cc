#include "server/library/discard.h"

#include <atomic>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/log.h"

namespace engram::server {

absl::StatusOr<std::string> MoveToStaging(const DataPaths& paths, const std::string& directory) {
  if (!PathExists(directory)) return std::string();
  static std::atomic<int64_t> counter{0};
  std::string staged = absl::StrCat(paths.staging(), "/discarded-", ++counter);
  ENGRAM_RETURN_IF_ERROR(RenameDurably(directory, staged));
  return staged;
}

void RemoveStaged(const std::string& staged) {
  if (staged.empty()) return;
  if (const absl::Status removed = RemoveTree(staged); !removed.ok())
    LogWarning("a deleted directory stays in staging until the next start",
               {{"message", std::string(removed.message())}});
}

}  // namespace engram::server
