#pragma once

// The one way into the server: whatever a client calls (unary, upload, server stream) opens a CallScope on gRPC's
// thread, does its work in a pool and ends through the scope. Who calls, until when, how it ended and how long it took
// are known here and nowhere else; so this is where authentication, an audit log and tracing have their place.
//
//   unary         rpc/unary.h      Answer(...), or a UnaryCall of its own
//   upload        rpc/upload.h     UploadCall
//   server stream rpc/stream.h     StreamCall

#include <atomic>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "google/protobuf/message.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"
#include "server/admin/metrics.h"
#include "server/rpc/work_pool.h"

namespace engram::server {

// What calls of every service stand on. All of it outlives every call.
struct CallEnvironment {
  Metrics& metrics;
  // Where calls are worked on. gRPC's own threads never read a file, wait for the database or compute.
  WorkPool& pool;
  const Clock& clock;
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
  // Who calls: the peer's address ("ipv4:127.0.0.1:40112"), as long as nobody has to prove who they are.
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

  // The end of the call, exactly once: counts it, logs what is the server's own fault, and gives the status to finish
  // with.
  grpc::Status End(const absl::Status& status);

 private:
  Metrics& metrics_;
  const Clock& clock_;
  const std::string method_, principal_;
  const absl::Time deadline_, start_;
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace engram::server
