#pragma once

// The one error channel: absl::Status and absl::StatusOr. A status that a user will see names the field that is wrong
// and the remedy, and never a path, an address or an internal name. The server turns the two payloads below into
// google.rpc.BadRequest and google.rpc.ErrorInfo (server/status_mapping.h).

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace engram {

// Debian and Ubuntu build abseil with a string_view of its own; this is the bridge for calls into abseil (StrCat,
// statuses).
inline absl::string_view AbslView(std::string_view text) { return {text.data(), text.size()}; }

// INVALID_ARGUMENT for one field of a request, a file or a config. `field` in the user's own words ("lambda",
// "rows[12].text"); `message` says what is wrong and what to do instead.
absl::Status InvalidField(std::string_view field, std::string_view message);

// Any other status with a machine-readable reason in UPPER_SNAKE_CASE ("MODEL_NOT_FOUND", "QUEUE_FULL").
absl::Status StatusWithReason(absl::StatusCode code, std::string_view reason, std::string_view message);

// The field that InvalidField named; empty if the status names none.
std::string StatusField(const absl::Status& status);

// The reason that StatusWithReason gave; the code's own name ("INVALID_ARGUMENT") if it gave none.
std::string StatusReason(const absl::Status& status);

// The same status (code and payloads) with `prefix` and ": " before its message. OK stays OK.
absl::Status Annotate(const absl::Status& status, std::string_view prefix);

}  // namespace engram

#define ENGRAM_CONCAT_INNER(a, b) a##b
#define ENGRAM_CONCAT(a, b) ENGRAM_CONCAT_INNER(a, b)

#define ENGRAM_RETURN_IF_ERROR(expression)                                                    \
  do {                                                                                        \
    if (absl::Status engram_status = (expression); !engram_status.ok()) return engram_status; \
  } while (false)

#define ENGRAM_ASSIGN_OR_RETURN_IMPL(holder, target, expression) \
  auto holder = (expression);                                    \
  if (!holder.ok()) return std::move(holder).status();           \
  target = std::move(holder).value()

// ENGRAM_ASSIGN_OR_RETURN(auto x, F()): evaluates F(), returns its status if it failed, else moves its value into x.
#define ENGRAM_ASSIGN_OR_RETURN(target, expression) \
  ENGRAM_ASSIGN_OR_RETURN_IMPL(ENGRAM_CONCAT(engram_status_or_, __LINE__), target, expression)
