#pragma once

#include "core/base/status.h"
#include "grpcpp/support/status.h"

namespace engram::server {

// The status of a reply: code and message as they are, google.rpc.ErrorInfo (reason, domain "engram"), BadRequest where
// a field was named, RetryInfo where trying again later helps.
grpc::Status ToGrpc(const absl::Status& status);

}  // namespace engram::server
