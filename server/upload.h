#pragma once

// A client stream that is received completely, then worked on in the pool, then answered.

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "grpcpp/support/server_callback.h"
#include "server/calls.h"
#include "server/work_pool.h"

namespace engram::server {

// Take: called with each message in turn, on gRPC's thread; an error ends the call. Done: called once, in the pool,
// after the last message; fills the response. Deletes itself when the call is over.
template <typename Request, typename Response>
class UploadReactor : public grpc::ServerReadReactor<Request> {
 public:
  UploadReactor(Metrics& metrics, const char* method, WorkPool& pool, Response* response)
      : record_(metrics, method), pool_(pool), response_(response) {}

  // To be called once after construction.
  void Begin() { this->StartRead(&message_); }

  void OnReadDone(bool ok) override {
    if (ok) {
      const absl::Status taken = Take(message_);
      if (taken.ok()) {
        this->StartRead(&message_);
      } else {
        this->Finish(record_.Close(taken));
      }
      return;
    }
    // The end of the stream, or of the client: a client that broke off must not leave half an upload behind.
    pool_.Schedule([this] {
      const absl::Status status = cancelled_.load() ? absl::CancelledError("the client went away") : Done(*response_);
      this->Finish(record_.Close(status));
    });
  }
  void OnCancel() override { cancelled_.store(true); }
  void OnDone() override { delete this; }

 protected:
  virtual absl::Status Take(const Request& message) = 0;
  virtual absl::Status Done(Response& response) = 0;

 private:
  CallRecord record_;
  WorkPool& pool_;
  Response* const response_;
  Request message_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace engram::server
