#pragma once

// The one way into the server: whatever a client calls (unary, upload, server stream) opens a CallScope on gRPC's
// thread, does its work in a pool and ends through the scope. Who calls, until when, how it ended and how long it took
// are known here and nowhere else; so this is where callers prove who they are and where changes are written down.
//
//   unary         rpc/unary.h      Answer(...), or a UnaryCall of its own
//   upload        rpc/upload.h     UploadCall
//   server stream rpc/stream.h     StreamCall

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "google/protobuf/message.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"
#include "server/admin/metrics.h"
#include "server/rpc/authenticator.h"
#include "server/rpc/idle_watch.h"
#include "server/rpc/work_pool.h"

namespace engram::server {

// What calls of every service stand on. All of it outlives every call.
struct CallEnvironment {
  Metrics& metrics;
  // Where calls are worked on. gRPC's own threads never read a file, wait for the database or compute.
  WorkPool& pool;
  const Clock& clock;
  // Whom calls have to name a token to; null: nobody.
  const Authenticator* authenticator = nullptr;
  // Ends uploads that stand still; null: nobody does.
  IdleWatch* idle_watch = nullptr;
};

// What is sent back at most. A message above 2 GiB would end the server: protobuf writes none.
constexpr size_t kMaxReplyBytes = size_t{256} << 20;

// OK for a reply that may be sent; RESOURCE_EXHAUSTED, reason REPLY_TOO_LARGE, for one above kMaxReplyBytes. A call whose
// reply can become large bounds it before it computes; this stands behind all of them.
absl::Status CheckReply(const google::protobuf::Message& reply);

// One call, from its arrival to its status. Thread-safe but for End.
class CallScope {
 public:
  // `method`: the RPC's short name, the label of its metrics; unique over all services. `context` is read here and not
  // kept.
  CallScope(const CallEnvironment& environment, const grpc::CallbackServerContext& context, const char* method);

  const std::string& method() const { return method_; }
  // OK, or UNAUTHENTICATED: the call gave no token that is known, and is to end with this. Nothing of it may be worked on.
  const absl::Status& entry() const { return entry_; }
  // Who calls: the name of the token; without tokens the name in the client's certificate; without either the peer's
  // address ("ipv4:127.0.0.1:40112").
  const std::string& principal() const { return principal_; }
  // Until when the client waits; far in the future if it set no deadline.
  absl::Time deadline() const { return deadline_; }

  // To be called from the reactor's OnCancel.
  void Cancel() { cancelled_->store(true); }
  bool cancelled() const { return cancelled_->load(); }
  // The same as a flag that may outlive the call, for queues that hold its work.
  const std::shared_ptr<std::atomic<bool>>& cancelled_flag() const { return cancelled_; }
  // OK while somebody waits for the answer; else DEADLINE_EXCEEDED or CANCELLED. What takes long asks between steps.
  absl::Status Alive() const;

  // The call changes what the server keeps: its end is written to the log with who asked. `what`: Identifiers of the
  // request (audit.h).
  void Audit(std::string what) { change_ = std::move(what); }

  // The end of the call, exactly once: counts it, logs what is the server's own fault and what was changed by whom, and
  // gives the status to finish with.
  grpc::Status End(const absl::Status& status);

 private:
  Metrics& metrics_;
  const Clock& clock_;
  const std::string method_, peer_;
  std::string principal_;
  absl::Status entry_;
  std::optional<std::string> change_;
  const absl::Time deadline_, start_;
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace engram::server
