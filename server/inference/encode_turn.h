#pragma once

// A long encode's place among the others, which have few threads together.

#include <cstdint>
#include <memory>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "core/serve/admission.h"
#include "engram/v1/inference.pb.h"

namespace engram::server {

// Belongs to one call; not thread-safe. Take comes first, once; the place is given back when it goes.
class EncodeTurn {
 public:
  // RESOURCE_EXHAUSTED, QUEUE_FULL, where the others that came before would keep the call beyond its deadline. `admission`
  // outlives this.
  absl::Status Take(serve::Admission& admission, const engram::v1::LongContextEncodeRequest& request,
                    absl::Time deadline);
  // LongEncodeHooks: what is left of it counts for those that come later, and how fast it goes.
  void Planned(const engram::v1::LongContextPlan& plan);
  void Progressed(const engram::v1::LongContextProgress& progress);

 private:
  serve::Admission* admission_ = nullptr;
  std::unique_ptr<serve::Admission::Ticket> ticket_;  // none: a plan alone was asked for
  int64_t bytes_ = 0;
  int64_t tokens_ = 0, left_ = 0;  // to be computed, in all and still
};

}  // namespace engram::server
