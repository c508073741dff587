#pragma once

// Which versions are in memory. The first request for a version loads it, later ones share it, and when there are too
// many the least recently used one is let go (requests that hold it keep it alive). Two requests for one version load
// it once. Thread-safe.

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/status.h"
#include "core/serve/served_version.h"

namespace engram::serve {

class ModelSet {
 public:
  using Pointer = std::shared_ptr<const ServedVersion>;
  using Loader = std::function<absl::StatusOr<Pointer>(const std::string& model, int64_t number)>;

  // At most `capacity` (>= 1) versions are kept. `loader` may be called from several threads at once, for different
  // versions.
  ModelSet(Loader loader, int64_t capacity) : loader_(std::move(loader)), capacity_(capacity) {}

  // Blocks while the version is loaded. A failed load is not remembered: the next request tries again.
  absl::StatusOr<Pointer> Get(const std::string& model, int64_t number) ABSL_LOCKS_EXCLUDED(mutex_);
  // Lets a version go, if it is there (after it was deleted).
  void Drop(const std::string& model, int64_t number) ABSL_LOCKS_EXCLUDED(mutex_);
  int64_t loaded() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using Key = std::pair<std::string, int64_t>;
  struct Entry {
    bool loading = true;
    Pointer version;
    uint64_t used = 0;  // larger: later
  };
  bool Arrived(const Key& key) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Evict() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Loader loader_;
  const int64_t capacity_;
  mutable absl::Mutex mutex_;
  std::map<Key, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  uint64_t uses_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace engram::serve
