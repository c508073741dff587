#pragma once

// When a call that was refused is worth another try, as part of its status. The server sends it as google.rpc.RetryInfo.

#include <optional>

#include "absl/time/time.h"
#include "core/base/status.h"

namespace engram {

// The same status with `delay` (>= 0, rounded up to milliseconds). OK stays OK.
absl::Status RetryAfter(absl::Status status, absl::Duration delay);

// What RetryAfter gave; none if nothing did.
std::optional<absl::Duration> RetryDelay(const absl::Status& status);

}  // namespace engram
