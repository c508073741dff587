#include "server/rpc/call.h"

#include "absl/strings/str_cat.h"
#include "core/base/log.h"
#include "server/rpc/status_mapping.h"

namespace engram::server {

absl::Status CheckReply(const google::protobuf::Message& reply) {
  if (reply.ByteSizeLong() <= kMaxReplyBytes) return absl::OkStatus();
  return StatusWithReason(
      absl::StatusCode::kResourceExhausted, "REPLY_TOO_LARGE",
      absl::StrCat("the answer is larger than ", kMaxReplyBytes >> 20, " MiB; ask for less at once"));
}

CallScope::CallScope(const CallEnvironment& environment, const grpc::CallbackServerContext& context, const char* method)
    : metrics_(environment.metrics),
      clock_(environment.clock),
      method_(method),
      principal_(context.peer()),
      deadline_(absl::FromChrono(context.deadline())),
      start_(environment.clock.Now()) {}

absl::Status CallScope::Alive() const {
  if (clock_.Now() > deadline_) return absl::DeadlineExceededError("the deadline passed; give the call more time");
  return cancelled() ? absl::CancelledError("the client went away") : absl::OkStatus();
}

grpc::Status CallScope::End(const absl::Status& status) {
  const std::string code = absl::StatusCodeToString(status.code());
  metrics_.CountRequest(method_, code, absl::ToDoubleSeconds(clock_.Now() - start_));
  if (status.code() == absl::StatusCode::kInternal || status.code() == absl::StatusCode::kDataLoss) {
    LogError(
        "call failed",
        {{"method", method_}, {"principal", principal_}, {"code", code}, {"message", std::string(status.message())}});
  }
  return ToGrpc(status);
}

}  // namespace engram::server
