#pragma once

// Unary calls.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include "core/base/status.h"
#include "google/protobuf/message.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/audit.h"
#include "server/rpc/call.h"
#include "server/rpc/work_pool.h"

namespace engram::server {

// A unary call that is worked on in a pool. A client that leaves before its turn comes takes the call out of the queue.
// Deletes itself when the call is over.
class UnaryCall : public grpc::ServerUnaryReactor {
 public:
  // `pool`: where Work runs; environment.pool unless the call has a pool of its own.
  // `reply` lives as long as the call, as gRPC's messages do.
  UnaryCall(const CallEnvironment& environment, const grpc::CallbackServerContext& context,
            const google::protobuf::Message& reply, const char* method, WorkPool& pool, WorkPool::Length length)
      : scope_(environment, context, method), reply_(reply), pool_(pool), length_(length) {}

  // To be called once, by the handler that returns the call: gRPC deletes nothing before that, however fast the pool is.
  // A call that is refused ends here, on gRPC's thread, and costs nobody else's time.
  void Begin() {
    absl::Status admitted = scope_.entry();
    if (admitted.ok() && pool_.waiting() >= kMostWaiting) admitted = PoolIsFull();
    if (admitted.ok()) admitted = Admit();
    if (!admitted.ok()) return End(admitted);
    scheduled_ = pool_.Schedule([this] { Run(); }, length_);
  }
  void OnCancel() final {
    scope_.Cancel();
    if (pool_.Withdraw(scheduled_)) End(scope_.Alive());
  }
  void OnDone() final { delete this; }

 protected:
  // On gRPC's thread, before the call is queued: why it is refused, or OK. Has to return at once.
  virtual absl::Status Admit() { return absl::OkStatus(); }
  // In the pool, if somebody still waits for the answer. Leads to End, once, at once or later.
  virtual void Work() = 0;
  // The last thing that a call does.
  virtual void End(const absl::Status& status) { Finish(scope_.End(status.ok() ? CheckReply(reply_) : status)); }

  // Work that belongs to the call, behind others that wait.
  void Schedule(std::function<void()> work) { pool_.Schedule(std::move(work), length_); }

  CallScope scope_;

 private:
  static constexpr size_t kMostWaiting = 10'000;  // calls of one pool

  static absl::Status PoolIsFull() {
    return StatusWithReason(absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
                            "too many calls wait for the server: retry later");
  }
  void Run() {
    if (const absl::Status alive = scope_.Alive(); !alive.ok()) {
      End(alive);
    } else {
      Work();
    }
  }

  const google::protobuf::Message& reply_;
  WorkPool& pool_;
  const WorkPool::Length length_;
  int64_t scheduled_ = 0;
};

// Begins a call: for a handler to return.
inline grpc::ServerUnaryReactor* Started(UnaryCall* call) {
  call->Begin();
  return call;
}

// A call that is answered by one function: `work` runs in the pool, fills the response, which lives until then as the
// request does, and returns the call's status. It must own what else it needs.
//
//   return Answer(environment_, context, response, "GetJob", [this, request, response]() -> absl::Status { ... });
//
// `changes`: the request of a call that changes what the server keeps, which is written down (CallScope::Audit).
template <typename Function>
grpc::ServerUnaryReactor* Answer(const CallEnvironment& environment, grpc::CallbackServerContext* context,
                                 const google::protobuf::Message* reply, const char* method, Function work,
                                 WorkPool::Length length = WorkPool::Length::kShort,
                                 const google::protobuf::Message* changes = nullptr) {
  class FunctionCall final : public UnaryCall {
   public:
    FunctionCall(const CallEnvironment& environment, const grpc::CallbackServerContext& context,
                 const google::protobuf::Message& reply, const char* method, Function work, WorkPool::Length length,
                 const google::protobuf::Message* changes)
        : UnaryCall(environment, context, reply, method, environment.pool, length), work_(std::move(work)) {
      if (changes != nullptr) scope_.Audit(Identifiers(*changes));
    }

   private:
    void Work() override { End(work_()); }
    Function work_;
  };
  return Started(new FunctionCall(environment, *context, *reply, method, std::move(work), length, changes));
}

// The same for a call that changes what the server keeps: who asked for what is written to the log.
template <typename Function>
grpc::ServerUnaryReactor* Change(const CallEnvironment& environment, grpc::CallbackServerContext* context,
                                 const google::protobuf::Message& request, const google::protobuf::Message* reply,
                                 const char* method, Function work,
                                 WorkPool::Length length = WorkPool::Length::kShort) {
  return Answer(environment, context, reply, method, std::move(work), length, &request);
}

// Copies what a StatusOr holds into a reply.
template <typename T>
absl::Status Reply(absl::StatusOr<T> from, T* to) {
  if (!from.ok()) return from.status();
  *to = *std::move(from);
  return absl::OkStatus();
}

}  // namespace engram::server
