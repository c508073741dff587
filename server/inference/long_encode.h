#pragma once

// What LongContextEncode and StreamLongContextEncode have in common: from the request over the plan to the answer.

#include <cstdint>
#include <functional>

#include "absl/time/time.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/longcontext/planner.h"
#include "core/serve/admission.h"
#include "core/serve/served_version.h"
#include "engram/v1/inference.pb.h"

namespace engram::server {

// What encodes share for as long as the server runs. Thread-safe.
struct LongEncodeBooks {
  longcontext::SpeedBook speeds;
  longcontext::MemoryLedger memory;
  // A long text may wait for as long as its client does.
  serve::Admission admission{Clock::Real(), absl::InfiniteDuration()};
};

struct LongEncodeHooks {
  const Clock& clock;
  absl::Time deadline;                  // far in the future if there is none
  std::function<absl::Status()> alive;  // OK while somebody waits; asked several times a second
  // The three below may be empty. Called once, before anything is computed.
  std::function<void(const engram::v1::LongContextPlan&)> planned = {};
  std::function<void(const engram::v1::LongContextProgress&)> progressed = {};
  // Vectors of the tokens, in their order; false: nobody takes them any more.
  std::function<bool(engram::v1::TokenVectors)> tokens = {};
};

// Fills the answer but for what server/inference/reply_tail.h fills. INVALID_ARGUMENT with the field; RESOURCE_EXHAUSTED
// (OUT_OF_MEMORY) with what is needed, free and the largest text that fits; DEADLINE_EXCEEDED (DEADLINE_TOO_SHORT) at once
// where the plan is far beyond the deadline; CANCELLED or DEADLINE_EXCEEDED once nobody waits.
absl::Status EncodeLong(const serve::ServedVersion& version, const engram::v1::LongContextEncodeRequest& request,
                        LongEncodeBooks& books, const LongEncodeHooks& hooks,
                        engram::v1::LongContextEncodeResponse& response);

}  // namespace engram::server
