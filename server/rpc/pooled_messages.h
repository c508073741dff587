#pragma once

#include "grpcpp/support/message_allocator.h"
#include "server/rpc/work_pool.h"

namespace engram::server {

// A method's messages, freed in a pool where the reply was large: one of a million tokens takes a tenth of a second to free,
// and gRPC, whose threads would do it, has few of them. Thread-safe; the pool outlives every call.
template <typename Request, typename Response>
class PooledMessages final : public grpc::MessageAllocator<Request, Response> {
 public:
  explicit PooledMessages(WorkPool& pool) : pool_(pool) {}
  grpc::MessageHolder<Request, Response>* AllocateMessages() override { return new Messages(pool_); }

 private:
  class Messages final : public grpc::MessageHolder<Request, Response> {
   public:
    explicit Messages(WorkPool& pool) : pool_(pool) {
      this->set_request(&request_);
      this->set_response(&response_);
    }
    void Release() override {
      constexpr int kLargeBytes = 64 << 10;
      // What it was when it was sent.
      if (response_.GetCachedSize() < kLargeBytes) {
        delete this;
      } else {
        pool_.Schedule([this] { delete this; });
      }
    }

   private:
    WorkPool& pool_;
    Request request_;
    Response response_;
  };

  WorkPool& pool_;
};

}  // namespace engram::server
