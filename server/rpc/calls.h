#pragma once

// What all gRPC handlers share: one status a call, counted once.

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/status.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/admin/metrics.h"
#include "server/rpc/status_mapping.h"
#include "server/rpc/work_pool.h"

namespace engram::server {

// The books of one call.
class CallRecord {
 public:
  CallRecord(Metrics& metrics, std::string method)
      : metrics_(metrics), method_(std::move(method)), start_(Clock::Real().Now()) {}
  // Counts the call and gives the status to finish it with.
  grpc::Status Close(const absl::Status& status) {
    const double seconds = absl::ToDoubleSeconds(Clock::Real().Now() - start_);
    const std::string code = absl::StatusCodeToString(status.code());
    metrics_.CountRequest(method_, code, seconds);
    if (status.code() == absl::StatusCode::kInternal || status.code() == absl::StatusCode::kDataLoss) {
      LogError("call failed", {{"method", method_}, {"code", code}, {"message", std::string(status.message())}});
    }
    return ToGrpc(status);
  }

 private:
  Metrics& metrics_;
  const std::string method_;
  const absl::Time start_;
};

// A call that is answered at once, on gRPC's thread: look-ups and transactions, nothing that loads or computes.
template <typename Work>
grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, Metrics& metrics, const char* method,
                                 const Work& work) {
  CallRecord record(metrics, method);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(record.Close(work()));
  return reactor;
}

// A call whose work reads files or computes: answered in the pool. `work` must own what it needs beside request and
// response, which live until then.
template <typename Work>
grpc::ServerUnaryReactor* AnswerInPool(grpc::CallbackServerContext* context, Metrics& metrics, WorkPool& pool,
                                       const char* method, Work work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto record = std::make_shared<CallRecord>(metrics, method);
  pool.Schedule([reactor, record, work = std::move(work)] { reactor->Finish(record->Close(work())); });
  return reactor;
}

// Copies what a StatusOr holds into a reply.
template <typename T>
absl::Status Reply(absl::StatusOr<T> from, T* to) {
  if (!from.ok()) return from.status();
  *to = *std::move(from);
  return absl::OkStatus();
}

// A server stream fed from anywhere: Push queues (or, with `latest_only`, replaces what waits), Close ends the stream
// once all is written. Deletes itself when the call is over. The feeder calls nothing after OnGone.
template <typename Response>
class StreamWriter : public grpc::ServerWriteReactor<Response> {
 public:
  StreamWriter(Metrics& metrics, const char* method, bool latest_only)
      : record_(metrics, method), latest_only_(latest_only) {}

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
  void OnWriteDone(bool ok) override ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      absl::MutexLock lock(&mutex_);
      writing_ = false;
      if (!ok) {
        queue_.clear();
        if (!closing_) closing_ = absl::CancelledError("the client went away");
      }
      Advance();
    }
    if (ok) OnWritten();
  }
  void OnCancel() override { Close(absl::CancelledError("the client went away")); }
  void OnDone() override {
    OnGone();
    delete this;
  }

 protected:
  // After each message that was written. Optional.
  virtual void OnWritten() {}
  // The call is over: the last moment to stop the feeder.
  virtual void OnGone() {}

 private:
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || finished_) return;
    if (!queue_.empty() && !(closing_ && absl::IsCancelled(*closing_))) {
      current_ = std::move(queue_.front());
      queue_.pop_front();
      writing_ = true;
      this->StartWrite(&current_);
    } else if (closing_) {
      finished_ = true;
      this->Finish(record_.Close(*closing_));
    }
  }

  CallRecord record_;
  const bool latest_only_;
  absl::Mutex mutex_;
  std::deque<Response> queue_ ABSL_GUARDED_BY(mutex_);
  Response current_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> closing_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false, finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace engram::server
