#pragma once

// Server streams, and the half of streams in both directions (rpc/duplex.h) that answers.

#include <deque>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/status.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/call.h"
#include "server/rpc/work_pool.h"

namespace engram::server {

// A call whose answers are fed from anywhere: Push queues (or, with `latest_only`, replaces what waits), Close ends the
// call once all is written. A client that leaves ends it at once; what is pushed afterwards goes nowhere. Push and
// Close are thread-safe and return at once. `Reactor`: gRPC's, with StartWrite and Finish.
//
// To be made by std::make_shared and started by StartStream. Lives until gRPC is done with it, and longer for a feeder
// that holds it; a feeder that would outlive the call stops in OnGone.
template <typename Reactor, typename Response>
class FedCall : public Reactor, public std::enable_shared_from_this<FedCall<Reactor, Response>> {
 public:
  FedCall(const CallEnvironment& environment, const grpc::CallbackServerContext& context, const char* method,
          bool latest_only)
      : scope_(environment, context, method), pool_(environment.pool), latest_only_(latest_only) {}

  // To be called once, by the handler that returns the call.
  void Begin() {
    self_ = this->shared_from_this();
    if (!scope_.entry().ok()) return Close(scope_.entry());
    pool_.Schedule([stream = self_] { stream->Open(); });
  }
  void Push(Response response) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (closing_) return;
    if (latest_only_) queue_.clear();
    queue_.push_back(std::move(response));
    Advance();
  }
  void Close(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (closing_) return;
    closing_ = status;
    Advance();
  }

  void OnWriteDone(bool ok) final ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      absl::MutexLock lock(&mutex_);
      writing_ = false;
      if (!ok) Abandon();
      Advance();
    }
    if (ok) pool_.Schedule([stream = self_] { stream->OnWritten(); });
  }
  void OnCancel() final ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    Abandon();
    Advance();
  }
  void OnDone() final {
    pool_.Schedule([stream = std::move(self_)] { stream->OnGone(); });
  }

 protected:
  // All three in the pool. Open: first, once. OnWritten: after each message that was written; optional. OnGone: last,
  // once the call is over, but perhaps beside an Open or OnWritten that has not returned yet; optional.
  virtual void Open() = 0;
  virtual void OnWritten() {}
  virtual void OnGone() {}
  // For a feeder that asks whether somebody still waits; Close ends it.
  const CallScope& scope() const { return scope_; }

 private:
  // What was not written yet nobody gets: that is how the call ended, whatever the feeder had said.
  void Abandon() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    scope_.Cancel();
    queue_.clear();
    closing_ = scope_.Alive();
  }
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || finished_) return;
    if (!queue_.empty()) {
      current_ = std::move(queue_.front());
      queue_.pop_front();
      writing_ = true;
      this->StartWrite(&current_);
    } else if (closing_) {
      finished_ = true;
      this->Finish(scope_.End(*closing_));
    }
  }

  CallScope scope_;
  WorkPool& pool_;
  const bool latest_only_;
  std::shared_ptr<FedCall> self_;  // as long as gRPC needs it; set before and taken after every other use
  absl::Mutex mutex_;
  std::deque<Response> queue_ ABSL_GUARDED_BY(mutex_);
  Response current_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> closing_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false, finished_ ABSL_GUARDED_BY(mutex_) = false;
};

// A server stream.
template <typename Response>
class StreamCall : public FedCall<grpc::ServerWriteReactor<Response>, Response> {
 public:
  using FedCall<grpc::ServerWriteReactor<Response>, Response>::FedCall;
};

// Makes a stream and starts it: for a handler to return.
template <typename Stream, typename... Arguments>
Stream* StartStream(Arguments&&... arguments) {
  const auto stream = std::make_shared<Stream>(std::forward<Arguments>(arguments)...);
  stream->Begin();
  return stream.get();
}

}  // namespace engram::server
