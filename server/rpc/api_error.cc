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

}  // namespace engram::server
