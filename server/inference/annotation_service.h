#pragma once

// engram.v1.AnnotationService: terms of a list in texts, without any model. The automata of the lists asked for last are
// kept, so that a client that sends its texts call by call does not wait for one each time.
//
// Thread-safe; what it is given outlives it. Errors: INVALID_ARGUMENT with field "texts", "terms" or "terms[i].text" for
// a request that is wrong as a whole; RESOURCE_EXHAUSTED (TOO_MANY_MATCHES) for more places than one answer holds. A text
// that is no UTF-8 has an error of its own.

#include <cstddef>
#include <list>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/annotate/term_matcher.h"
#include "engram/v1/annotation.grpc.pb.h"
#include "server/rpc/call.h"

namespace engram::server {

// Matchers by their lists; the ones used last, within a bound on their memory. Thread-safe.
class MatcherCache {
 public:
  explicit MatcherCache(size_t max_bytes) : max_bytes_(max_bytes) {}
  // Builds one list at a time: others wait, so that building holds the memory of one.
  absl::StatusOr<std::shared_ptr<const annotate::TermMatcher>> Get(
      const google::protobuf::RepeatedPtrField<engram::v1::Term>& terms) ABSL_LOCKS_EXCLUDED(mutex_);
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

// The whole call; `max_texts`: of one request.
absl::Status AnnotateTexts(const engram::v1::AnnotateTextsRequest& request, int64_t max_texts, MatcherCache& matchers,
                           engram::v1::AnnotateTextsResponse& response);

class AnnotationService final : public engram::v1::AnnotationService::CallbackService {
 public:
  using Api = engram::v1::AnnotationService;

  AnnotationService(int64_t max_texts, const CallEnvironment& environment)
      : max_texts_(max_texts), environment_(environment) {}

  grpc::ServerUnaryReactor* AnnotateTexts(grpc::CallbackServerContext* context,
                                          const engram::v1::AnnotateTextsRequest* request,
                                          engram::v1::AnnotateTextsResponse* response) override;

 private:
  static constexpr size_t kMatcherBytes = size_t{256} << 20;

  const int64_t max_texts_;
  MatcherCache matchers_{kMatcherBytes};
  const CallEnvironment environment_;
};

}  // namespace engram::server
