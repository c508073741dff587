#pragma once

// How much disk each model takes. Thread-safe.

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/clock.h"
#include "server/data_paths.h"

namespace engram::server {

class DiskUse {
 public:
  DiskUse(DataPaths paths, const Clock& steady) : paths_(std::move(paths)), clock_(steady) {}

  // Bytes on disk of all versions of each model, files that versions share counted once. Walks through the directories, at
  // most once a minute; in between it is what it was.
  std::map<std::string, int64_t> OfModels() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const DataPaths paths_;
  const Clock& clock_;
  absl::Mutex mutex_;
  absl::Time looked_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  std::map<std::string, int64_t> of_models_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::server
