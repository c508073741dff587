#pragma once

// Unary calls.

#include <cstdint>
#include <utility>

#include "core/base/status.h"
#include "google/protobuf/message.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
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
  void Begin() {
    scheduled_ = pool_.Schedule([this] { Run(); }, length_);
  }
  void OnCancel() final {
    scope_.Cancel();
    if (pool_.Withdraw(scheduled_)) End(scope_.Alive());
  }
  void OnDone() final { delete this; }

 protected:
  // In the pool, if somebody still waits for the answer. Leads to End, once, at once or later.
  virtual void Work() = 0;
  // The last thing that a call does.
  virtual void End(const absl::Status& status) { Finish(scope_.End(status.ok() ? CheckReply(reply_) : status)); }

  CallScope scope_;

 private:
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
template <typename Function>
grpc::ServerUnaryReactor* Answer(const CallEnvironment& environment, grpc::CallbackServerContext* context,
                                 const google::protobuf::Message* reply, const char* method, Function work,
                                 WorkPool::Length length = WorkPool::Length::kShort) {
  class FunctionCall final : public UnaryCall {
   public:
    FunctionCall(const CallEnvironment& environment, const grpc::CallbackServerContext& context,
                 const google::protobuf::Message& reply, const char* method, Function work, WorkPool::Length length)
        : UnaryCall(environment, context, reply, method, environment.pool, length), work_(std::move(work)) {}

   private:
    void Work() override { End(work_()); }
    Function work_;
  };
  return Started(new FunctionCall(environment, *context, *reply, method, std::move(work), length));
}

// Copies what a StatusOr holds into a reply.
template <typename T>
absl::Status Reply(absl::StatusOr<T> from, T* to) {
  if (!from.ok()) return from.status();
  *to = *std::move(from);
  return absl::OkStatus();
}

}  // namespace engram::server
