#pragma once

// engram.v1.AnnotationService: terms of a list in texts, without any model.
//
// Thread-safe; what it is given outlives it. Errors: INVALID_ARGUMENT with field "texts", "terms" or "terms[i].text" for
// a request that is wrong as a whole; RESOURCE_EXHAUSTED (TOO_MANY_MATCHES) for more places than one answer holds. A text
// that is no UTF-8 has an error of its own.

#include <cstdint>

#include "engram/v1/annotation.grpc.pb.h"
#include "server/inference/matcher_cache.h"
#include "server/rpc/call.h"

namespace engram::server {

// The whole call; `max_texts`: of one request.
absl::Status AnnotateTexts(const engram::v1::AnnotateTextsRequest& request, int64_t max_texts, MatcherCache& matchers,
                           engram::v1::AnnotateTextsResponse& response);

class AnnotationService final : public engram::v1::AnnotationService::CallbackService {
 public:
  using Api = engram::v1::AnnotationService;

  AnnotationService(int64_t max_texts, MatcherCache& matchers, const CallEnvironment& environment)
      : max_texts_(max_texts), matchers_(matchers), environment_(environment) {}

  grpc::ServerUnaryReactor* AnnotateTexts(grpc::CallbackServerContext* context,
                                          const engram::v1::AnnotateTextsRequest* request,
                                          engram::v1::AnnotateTextsResponse* response) override;

 private:
  const int64_t max_texts_;
  MatcherCache& matchers_;
  const CallEnvironment environment_;
};

}  // namespace engram::server
