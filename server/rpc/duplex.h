#pragma once

// Streams in both directions.

#include <utility>

#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/stream.h"

namespace engram::server {

// A call that takes messages and answers them: Take is given one message at a time, and the next one is read only when
// ReadNext has asked for it, so that a call bounds what it holds by when it asks. Answers go through Push and Close.
template <typename Request, typename Response>
class DuplexCall : public FedCall<grpc::ServerBidiReactor<Request, Response>, Response> {
 public:
  using Base = FedCall<grpc::ServerBidiReactor<Request, Response>, Response>;

  // `pool`: where messages are taken.
  DuplexCall(const CallEnvironment& environment, const grpc::CallbackServerContext& context, const char* method,
             WorkPool& pool)
      : Base(environment, context, method, /*latest_only=*/false), pool_(pool) {}

  void OnReadDone(bool ok) final {
    pool_.Schedule([call = this->shared_from_this(), this, ok] {
      if (ok) {
        Take(std::move(message_));
      } else {
        OnLastRead();
      }
    });
  }

 protected:
  // A message, in the pool; no two at a time. Leads to ReadNext, once, at once or later, or to Close.
  virtual void Take(Request message) = 0;
  // In the pool: the client has sent all that it will send, or is gone. Leads to Close.
  virtual void OnLastRead() = 0;
  // To be called once for each Take, and for the first message in Open.
  void ReadNext() {
    message_.Clear();
    this->StartRead(&message_);
  }

 private:
  WorkPool& pool_;
  Request message_;
};

}  // namespace engram::server
