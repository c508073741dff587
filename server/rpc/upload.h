#pragma once

// A client stream that is received completely, then worked on, then answered; all of it in the pool.

#include "grpcpp/support/server_callback.h"
#include "server/rpc/audit.h"
#include "server/rpc/call.h"
#include "server/rpc/work_pool.h"

namespace engram::server {

// Take: called with each message in turn; an error ends the call. Done: called once, as long work, after the message
// that says `end`; fills the response. CleanUp: called once, last, whatever became of the call. No two of them at a
// time. Deletes itself when the call is over.
//
// gRPC shows a client that closes its stream and one that dies in the same way, so only `end` tells a whole upload from
// half of one. A client that sends nothing for long is cut off (idle_watch.h).
template <typename Request, typename Response>
class UploadCall : public grpc::ServerReadReactor<Request> {
 public:
  UploadCall(const CallEnvironment& environment, const grpc::CallbackServerContext& context, const char* method,
             Response* response)
      : scope_(environment, context, method),
        pool_(environment.pool),
        idle_watch_(environment.idle_watch),
        context_(context),
        response_(response) {}

  // To be called once, by the handler that returns the call.
  void Begin() {
    if (!scope_.entry().ok()) return End(scope_.entry());
    if (idle_watch_ != nullptr) watched_ = idle_watch_->Add([this] { context_.TryCancel(); });
    this->StartRead(&message_);
  }

  // One read or one piece of work is under way at any time and leads to the next, or to Finish; so nothing outlives it.
  void OnReadDone(bool ok) final {
    if (ok) {
      pool_.Schedule([this] { TakeMessage(); });
    } else if (ended_) {
      pool_.Schedule([this] { WorkOnAll(); }, WorkPool::Length::kLong);
    } else {
      pool_.Schedule([this] { BreakOff(); });
    }
  }
  void OnCancel() final { scope_.Cancel(); }
  void OnDone() final { delete this; }

 protected:
  // The header comes first, once.
  virtual absl::Status Take(const Request& message) = 0;
  virtual absl::Status Done(Response& response) = 0;
  virtual void CleanUp() {}

 private:
  // More in one message is not needed and would be held whole.
  static constexpr size_t kMostMessageBytes = (size_t{2} << 20) + (size_t{64} << 10);

  void TakeMessage() {
    if (idle_watch_ != nullptr) idle_watch_->Touch(watched_);
    const absl::Status taken = TakeInOrder();
    if (taken.ok()) {
      this->StartRead(&message_);
    } else {
      End(taken);
    }
  }
  absl::Status TakeInOrder() {
    if (ended_) return InvalidField("end", "must be the last message");
    if (!headed_ && !message_.has_header()) return InvalidField("header", "must be the first message");
    if (message_.ByteSizeLong() > kMostMessageBytes)
      return InvalidField("message", "is larger than 2 MiB; send the file in smaller chunks");
    if (headed_ && message_.has_header()) return InvalidField("header", "was sent twice");
    if (!headed_) scope_.Audit(Identifiers(message_));
    headed_ = true;
    ended_ = message_.has_end();
    return ended_ ? absl::OkStatus() : Take(message_);
  }
  void BreakOff() {
    const absl::Status alive = scope_.Alive();
    End(alive.ok()
            ? InvalidField("end", "is missing: the upload broke off before its last message, so nothing of it was kept")
            : alive);
  }
  void WorkOnAll() {
    StopWatching();
    const absl::Status alive = scope_.Alive();
    End(alive.ok() ? Done(*response_) : alive);
  }
  void StopWatching() {
    if (idle_watch_ != nullptr) idle_watch_->Remove(watched_);
  }
  void End(const absl::Status& status) {
    StopWatching();
    CleanUp();
    this->Finish(scope_.End(status));
  }

  CallScope scope_;
  WorkPool& pool_;
  IdleWatch* const idle_watch_;
  const grpc::CallbackServerContext& context_;
  int64_t watched_ = 0;
  Response* const response_;
  Request message_;
  bool headed_ = false, ended_ = false;
};

}  // namespace engram::server
