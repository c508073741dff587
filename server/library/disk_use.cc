#include "server/library/disk_use.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/checkpoint/shared_files.h"

namespace engram::server {

std::map<std::string, int64_t> DiskUse::OfModels() {
  constexpr absl::Duration kAge = absl::Minutes(1);
  absl::MutexLock lock(&mutex_);
  if (const absl::Time now = clock_.Now(); now - looked_ >= kAge) {
    looked_ = now;
    of_models_.clear();
    // Without any model the directory is not there.
    for (const std::string& model : ListDirectory(paths_.models()).value_or(std::vector<std::string>()))
      of_models_[model] = checkpoint::DiskBytes(absl::StrCat(paths_.models(), "/", model));
  }
  return of_models_;
}

}  // namespace engram::server
