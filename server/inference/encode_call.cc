#include "server/inference/encode_call.h"

#include "server/inference/encode_turn.h"
#include "server/inference/inference_call.h"
#include "server/inference/reply_tail.h"
#include "server/inference/shape_plan.h"

namespace engram::server {
namespace {

using engram::v1::LongContextEncodeRequest;
using engram::v1::LongContextEncodeResponse;

// Runs in a pool of its own, not through the batcher: a long text is many full batches by itself, and the model is
// safe to share.
class EncodeCall final : public PoolCall {
 public:
  EncodeCall(const InferenceBackend& backend, const grpc::CallbackServerContext& context, LongEncodeBooks& books,
             const LongContextEncodeRequest& request, LongContextEncodeResponse& response)
      : PoolCall(backend, context, response, "LongContextEncode", backend.encodes, request.model(), request.version()),
        books_(books),
        request_(request),
        response_(response) {}

 private:
  absl::Status Admit() override { return turn_.Take(books_.admission, request_, scope_.deadline()); }
  absl::Status Compute() override {
    if (!request_.config_json().empty()) return PlanShape(request_, response_);
    ENGRAM_RETURN_IF_ERROR(OpenVersion());
    const LongEncodeHooks hooks{.clock = backend_.environment.clock,
                                .deadline = scope_.deadline(),
                                .alive = [this] { return scope_.Alive(); },
                                .planned = [this](const auto& plan) { turn_.Planned(plan); },
                                .progressed = [this](const auto& progress) { turn_.Progressed(progress); }};
    ENGRAM_RETURN_IF_ERROR(EncodeLong(*version_, request_, books_, hooks, response_));
    // Chunks are tokenized while others are computed: all of it is compute time.
    timings_.set_compute_seconds(SecondsSinceOpened());
    ReplyTail tail;
    tail.AddAnswer(response_.plan().tokens());
    return tail.Fill(backend_.environment.metrics, scope_, *version_, timings_, response_);
  }

  LongEncodeBooks& books_;
  EncodeTurn turn_;
  const LongContextEncodeRequest& request_;
  LongContextEncodeResponse& response_;
};

}  // namespace

grpc::ServerUnaryReactor* StartLongContextEncode(const InferenceBackend& backend,
                                                 const grpc::CallbackServerContext& context, LongEncodeBooks& books,
                                                 const LongContextEncodeRequest& request,
                                                 LongContextEncodeResponse& response) {
  return Started(new EncodeCall(backend, context, books, request, response));
}

}  // namespace engram::server
