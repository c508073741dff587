#include "server/rpc/call.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/log.h"
#include "server/rpc/status_mapping.h"

namespace engram::server {
namespace {

// How much earlier than here a deadline may pass at the client, at least.
constexpr absl::Duration kTravel = absl::Milliseconds(50);

std::string Text(const grpc::string_ref& from) { return {from.data(), from.size()}; }

// The "authorization" of the call; empty without one.
std::string Authorization(const grpc::CallbackServerContext& context) {
  const auto found = context.client_metadata().find("authorization");
  return found == context.client_metadata().end() ? "" : Text(found->second);
}

// The name in a certificate of the client that was verified; empty without one.
std::string CertifiedName(const grpc::CallbackServerContext& context) {
  const auto authenticated = context.auth_context();
  if (!authenticated || !authenticated->IsPeerAuthenticated()) return "";
  const std::vector<grpc::string_ref> names = authenticated->GetPeerIdentity();
  return names.empty() ? "" : Text(names.front());
}

}  // namespace

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
      peer_(context.peer()),
      principal_(peer_),
      deadline_(absl::FromChrono(context.deadline())),
      start_(environment.clock.Now()) {
  if (std::string name = CertifiedName(context); !name.empty()) principal_ = std::move(name);
  if (environment.authenticator == nullptr) return;
  absl::StatusOr<std::string> name = environment.authenticator->Check(Authorization(context));
  entry_ = name.status();
  if (name.ok()) principal_ = *std::move(name);
}

absl::Status CallScope::Alive() const {
  const absl::Time now = clock_.Now();
  // A client's deadline is a little before the one that reaches the server, and the client cancels then: it did not leave,
  // its time is over.
  const absl::Duration travel = std::max(kTravel, (deadline_ - start_) / 10);
  if (now > deadline_ || (cancelled() && now + travel > deadline_))
    return absl::DeadlineExceededError("the deadline passed; give the call more time");
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
  if (change_) {
    LogInfo("change",
            {{"method", method_}, {"principal", principal_}, {"peer", peer_}, {"request", *change_}, {"code", code}});
  }
  return ToGrpc(status);
}

}  // namespace engram::server
