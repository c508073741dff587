#pragma once

// Which versions and labels each model has, in memory: whoever asks for one waits for no transaction. Thread-safe.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/status.h"

namespace engram::jobs {

class KnownVersions {
 public:
  struct Model {
    std::set<int64_t> versions;  // none: there is no such model
    std::map<std::string, int64_t, std::less<>> labels;
  };

  // As the database has it now.
  void Set(std::string_view name, Model model) ABSL_LOCKS_EXCLUDED(mutex_);
  // What the database has is not known: Resolve says UNAVAILABLE until it is.
  void SetUnknown(std::string_view name) ABSL_LOCKS_EXCLUDED(mutex_);
  // Store::ResolveVersion.
  absl::StatusOr<int64_t> Resolve(std::string_view name, std::string_view text) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  mutable absl::Mutex mutex_;
  // Null: unknown.
  std::map<std::string, std::shared_ptr<const Model>, std::less<>> models_ ABSL_GUARDED_BY(mutex_);
};

// The errors of a model, or a version of it, that is not there.
absl::Status ModelNotFound(std::string_view name);
absl::Status VersionNotFound(std::string_view model, int64_t number);

}  // namespace engram::jobs
