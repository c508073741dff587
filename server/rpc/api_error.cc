#include "server/rpc/api_error.h"

#include <string>

namespace engram::server {

engram::v1::Error ToError(const absl::Status& status) {
  engram::v1::Error error;
  error.set_code(static_cast<int>(status.code()));
  error.set_reason(StatusReason(status));
  error.set_message(std::string(status.message()));
  error.set_field(StatusField(status));
  return error;
}

absl::Status FromError(const engram::v1::Error& error) {
  auto code = static_cast<absl::StatusCode>(error.code());
  if (code == absl::StatusCode::kOk || absl::StatusCodeToString(code).empty()) code = absl::StatusCode::kInternal;
  return StatusWithReason(code, error.reason(), error.message());
}

}  // namespace engram::server
