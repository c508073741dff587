#include "server/inference/encode_stream.h"

#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/serve/engine.h"
#include "server/inference/encode_turn.h"
#include "server/inference/inference_call.h"
#include "server/inference/reply_tail.h"
#include "server/inference/shape_plan.h"
#include "server/rpc/stream.h"

namespace engram::server {
namespace {

using engram::v1::StreamLongContextEncodeRequest;
using engram::v1::StreamLongContextEncodeResponse;

class EncodeStream final : public StreamCall<StreamLongContextEncodeResponse> {
 public:
  EncodeStream(const InferenceBackend& backend, const grpc::CallbackServerContext& context,
               std::shared_ptr<LongEncodeBooks> books, const StreamLongContextEncodeRequest& request)
      : StreamCall(backend.environment, context, "StreamLongContextEncode", /*latest_only=*/false),
        backend_(backend),
        environment_(backend.environment),
        books_(std::move(books)),
        request_(request) {}

 private:
  void Open() override {
    if (const absl::Status taken = turn_.Take(books_->admission, request_.encode(), scope().deadline()); !taken.ok())
      return Close(taken);
    backend_.encodes.Schedule([stream = shared_from_this(), this] { Work(); });
  }
  void OnWritten() override ABSL_LOCKS_EXCLUDED(mutex_) {
    const absl::MutexLock lock(&mutex_);
    --waiting_;
  }
  void OnGone() override ABSL_LOCKS_EXCLUDED(mutex_) {
    const absl::MutexLock lock(&mutex_);
    gone_ = true;
  }

  void Work() {
    const absl::Status status = Compute();
    backend_.engine.health().Note(status);
    Close(status);
  }

  absl::Status Compute() {
    ENGRAM_RETURN_IF_ERROR(scope().Alive());
    if (!request_.encode().config_json().empty()) {
      StreamLongContextEncodeResponse planned;
      ENGRAM_RETURN_IF_ERROR(PlanShape(request_.encode(), *planned.mutable_result()));
      Send(std::move(planned));
      return absl::OkStatus();
    }
    ENGRAM_ASSIGN_OR_RETURN(const auto version,
                            OpenServedVersion(backend_, request_.encode().model(), request_.encode().version()));
    const absl::Time opened = environment_.clock.Now();
    LongEncodeHooks hooks{
        .clock = environment_.clock, .deadline = scope().deadline(), .alive = [this] { return scope().Alive(); }};
    hooks.planned = [this](const engram::v1::LongContextPlan& plan) {
      turn_.Planned(plan);
      StreamLongContextEncodeResponse message;
      *message.mutable_plan() = plan;
      Send(std::move(message));
    };
    hooks.progressed = [this](const engram::v1::LongContextProgress& progress) {
      turn_.Progressed(progress);
      if (!Idle()) return;
      StreamLongContextEncodeResponse message;
      *message.mutable_progress() = progress;
      Send(std::move(message));
    };
    if (request_.token_vectors()) {
      hooks.tokens = [this](engram::v1::TokenVectors tokens) {
        if (!AwaitRoom()) return false;
        StreamLongContextEncodeResponse message;
        *message.mutable_tokens() = std::move(tokens);
        Send(std::move(message));
        return true;
      };
    }
    StreamLongContextEncodeResponse last;
    engram::v1::LongContextEncodeResponse& result = *last.mutable_result();
    ENGRAM_RETURN_IF_ERROR(EncodeLong(*version, request_.encode(), *books_, hooks, result));
    engram::v1::Timings timings;
    timings.set_compute_seconds(absl::ToDoubleSeconds(environment_.clock.Now() - opened));
    ReplyTail tail;
    tail.AddAnswer(result.plan().tokens());
    ENGRAM_RETURN_IF_ERROR(tail.Fill(environment_.metrics, scope(), *version, timings, result));
    ENGRAM_RETURN_IF_ERROR(CheckReply(last));
    Send(std::move(last));
    return absl::OkStatus();
  }

  void Send(StreamLongContextEncodeResponse message) ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      const absl::MutexLock lock(&mutex_);
      ++waiting_;
    }
    Push(std::move(message));
  }
  bool Idle() ABSL_LOCKS_EXCLUDED(mutex_) {
    const absl::MutexLock lock(&mutex_);
    return waiting_ == 0;
  }
  // Waits while a client that reads slowly has enough to read; false once it is gone.
  bool AwaitRoom() ABSL_LOCKS_EXCLUDED(mutex_) {
    const absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(this, &EncodeStream::HasRoomOrIsGone));
    return !gone_;
  }
  bool HasRoomOrIsGone() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return gone_ || waiting_ < kMostWaiting; }

  static constexpr int kMostWaiting = 8;  // messages, of about a megabyte if they carry vectors

  const InferenceBackend backend_;
  const CallEnvironment environment_;
  const std::shared_ptr<LongEncodeBooks> books_;
  const StreamLongContextEncodeRequest request_;
  EncodeTurn turn_;
  absl::Mutex mutex_;
  int waiting_ ABSL_GUARDED_BY(mutex_) = 0;  // messages that are not written yet
  bool gone_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

grpc::ServerWriteReactor<StreamLongContextEncodeResponse>* StartStreamLongContextEncode(
    const InferenceBackend& backend, const grpc::CallbackServerContext& context, std::shared_ptr<LongEncodeBooks> books,
    const StreamLongContextEncodeRequest& request) {
  return StartStream<EncodeStream>(backend, context, std::move(books), request);
}

}  // namespace engram::server
