#pragma once

// A client stream that is received completely, then worked on in the pool, then answered.

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "grpcpp/support/server_callback.h"
#include "server/rpc/calls.h"
#include "server/rpc/work_pool.h"

namespace engram::server {

// Take: called with each message in turn, on gRPC's thread; an error ends the call. Done: called once, in the pool,
// after the message that says `end`; fills the response. Deletes itself when the call is over.
//
// gRPC shows a client that closes its stream and one that dies in the same way, so only `end` tells a whole upload from
// half of one.
template <typename Request, typename Response>
class UploadReactor : public grpc::ServerReadReactor<Request> {
 public:
  UploadReactor(Metrics& metrics, const char* method, WorkPool& pool, Response* response)
      : record_(metrics, method), pool_(pool), response_(response) {}

  // To be called once after construction.
  void Begin() { this->StartRead(&message_); }

  void OnReadDone(bool ok) override {
    if (ok) {
      const absl::Status taken = TakeInOrder();
      if (taken.ok()) {
        this->StartRead(&message_);
      } else {
        this->Finish(record_.Close(taken));
      }
      return;
    }
    if (!ended_) {
      this->Finish(record_.Close(
          InvalidField("end", "is missing: the upload broke off before its last message, so nothing of it was kept")));
      return;
    }
    pool_.Schedule(
        [this] {
          const absl::Status status =
              cancelled_.load() ? absl::CancelledError("the client went away") : Done(*response_);
          this->Finish(record_.Close(status));
        },
        WorkPool::Length::kLong);
  }
  void OnCancel() override { cancelled_.store(true); }
  void OnDone() override { delete this; }

 protected:
  // The header comes first, once.
  virtual absl::Status Take(const Request& message) = 0;
  virtual absl::Status Done(Response& response) = 0;

 private:
  absl::Status TakeInOrder() {
    if (ended_) return InvalidField("end", "must be the last message");
    if (!headed_ && !message_.has_header()) return InvalidField("header", "must be the first message");
    if (headed_ && message_.has_header()) return InvalidField("header", "was sent twice");
    headed_ = true;
    ended_ = message_.has_end();
    return ended_ ? absl::OkStatus() : Take(message_);
  }

  CallRecord record_;
  WorkPool& pool_;
  Response* const response_;
  Request message_;
  bool headed_ = false, ended_ = false;
  std::atomic<bool> cancelled_{false};
};

}  // namespace engram::server
