#pragma once

// Asks the server's own health service, within the process: gRPC's threads answer, so that an answer says that they move.

#include <functional>
#include <memory>

#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/server.h"

namespace engram::server {

class SelfCall {
 public:
  // The server outlives this.
  explicit SelfCall(grpc::Server& server);
  // Returns at once. `done` is called once, from one of gRPC's threads, whatever the answer is; perhaps after this is gone.
  void Ask(std::function<void()> done);

 private:
  grpc::GenericStub stub_;
};

}  // namespace engram::server
