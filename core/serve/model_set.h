#pragma once

// Which versions are in memory. The first request for a version loads it, later ones share it, and when there are too many the least
// recently used one is let go (requests that hold it keep it alive). Requests for one version that come while it is loaded wait for that
// load. Thread-safe.

#include <cstdint>
#include <functional>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/status.h"
#include "core/serve/served_version.h"

namespace engram::serve {

class ModelSet {
 public:
  using Pointer = std::shared_ptr<const ServedVersion>;
  using Loader = std::function<absl::StatusOr<Pointer>(const std::string& model, int64_t number)>;

  // At most `capacity` (>= 1) versions of together at most `capacity_bytes` are kept; those that are being loaded count as
  // versions, and the one that was loaded last stays. `loader` may be called from several threads at once, for different
  // versions, never under the set's lock.
  ModelSet(Loader loader, int64_t capacity, int64_t capacity_bytes = std::numeric_limits<int64_t>::max())
      : loader_(std::move(loader)), capacity_(capacity), capacity_bytes_(capacity_bytes) {}

  // Blocks while the version is loaded. A failed load is not remembered: of those that waited for it, the next one tries again.
  absl::StatusOr<Pointer> Get(const std::string& model, int64_t number) ABSL_LOCKS_EXCLUDED(mutex_);

  using Run = std::function<void(std::function<void()>)>;  // runs a function elsewhere, some time
  using Done = std::function<void(const absl::StatusOr<Pointer>&)>;
  // The version, if it is there. Else null, and `done` is told once it is, or why not, from the thread that loads it; `run` is given the
  // load, unless one is under way. Holds no thread.
  Pointer Fetch(const std::string& model, int64_t number, const Run& run, Done done) ABSL_LOCKS_EXCLUDED(mutex_);
  // Loads a version that will be asked for, if another one of its model is there.
  void Prefetch(const std::string& model, int64_t number, const Run& run) ABSL_LOCKS_EXCLUDED(mutex_);

  // Lets a version go (after it was deleted). One that is being loaded goes to the request that loads it and is not kept.
  void Drop(const std::string& model, int64_t number) ABSL_LOCKS_EXCLUDED(mutex_);
  // Versions that are kept; not those that are on their way.
  int64_t loaded() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using Key = std::pair<std::string, int64_t>;
  struct Entry {
    bool loading = true;
    bool dropped = false;  // while it was being loaded
    Pointer version;
    uint64_t used = 0;  // larger: later
    std::vector<Done> waiting;
  };
  // Loads the version whose entry says so, and tells those that wait.
  absl::StatusOr<Pointer> Load(const Key& key) ABSL_LOCKS_EXCLUDED(mutex_);
  bool Arrived(const Key& key) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Full() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EvictAllBut(const Key& newest) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Loader loader_;
  const int64_t capacity_, capacity_bytes_;
  mutable absl::Mutex mutex_;
  std::map<Key, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  uint64_t uses_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace engram::serve
