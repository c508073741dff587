#pragma once

// Lists of terms as clients send them, made into matchers. The matchers of the lists asked for last are kept, so that a
// client that sends its texts call by call does not wait for one each time.

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/annotate/term_matcher.h"
#include "core/base/status.h"
#include "engram/v1/annotation.pb.h"

namespace engram::server {

using TermList = google::protobuf::RepeatedPtrField<engram::v1::Term>;

// INVALID_ARGUMENT (field "terms") for more terms, or more bytes of them, than one list may have.
absl::Status CheckTerms(const TermList& terms);
int64_t BytesOf(const TermList& terms);

// Within a bound on the memory of what is kept. Thread-safe.
class MatcherCache {
 public:
  static constexpr size_t kBytes = size_t{256} << 20;  // of a server's

  explicit MatcherCache(size_t max_bytes) : max_bytes_(max_bytes) {}
  // Builds one list at a time: others wait, so that building holds the memory of one. Errors as TermMatcher::Build.
  absl::StatusOr<std::shared_ptr<const annotate::TermMatcher>> Get(const TermList& terms) ABSL_LOCKS_EXCLUDED(mutex_);
  size_t size() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return kept_.size();
  }

 private:
  using Kept = std::pair<std::string, std::shared_ptr<const annotate::TermMatcher>>;  // digest of the list

  const size_t max_bytes_;
  mutable absl::Mutex mutex_;
  std::list<Kept> kept_ ABSL_GUARDED_BY(mutex_);  // used last: first
};

}  // namespace engram::server
