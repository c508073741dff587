#pragma once

// One call whose texts go through the engine: tokenized in the pool, encoded in the device's batches, put together in
// the pool again.
//
//   gRPC thread ─► pool: Prepare ─► Batcher ─► device thread: TakeResult for each sequence ─► pool: Compose ─► End
//
// Ends with exactly one status. A client that leaves cancels what is still queued, in the pool or in the Batcher.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/serve/engine.h"
#include "server/inference/inference_call.h"

namespace engram::server {

class BatchedCall : public InferenceCall {
 public:
  BatchedCall(const InferenceBackend& backend, const grpc::CallbackServerContext& context,
              const google::protobuf::Message& reply, const char* method)
      : InferenceCall(backend, context, reply, method, WorkPool::Length::kShort) {}

 protected:
  // In the pool. Opens the version, checks the request, adds sequences.
  virtual absl::Status Prepare() = 0;
  // The answer of sequence `index` (in the order of AddSequence), or why there is none. One call at a time.
  virtual void TakeResult(size_t index, absl::StatusOr<serve::SequenceResult> result) = 0;
  // In the pool, when all results are there. Fills the response.
  virtual absl::Status Compose() = 0;

  // `heads`: the tasks whose logits are wanted; or none, and `vector` asks for the vector.
  void AddSequence(nn::Sequence sequence, std::vector<std::string> heads,
                   std::optional<serve::VectorQuery> vector = std::nullopt);

 private:
  void Work() final;
  void OnSequence(size_t index, absl::StatusOr<serve::SequenceResult> result) ABSL_LOCKS_EXCLUDED(mutex_);

  std::vector<std::shared_ptr<serve::BatchItem>> items_;
  absl::Mutex mutex_;
  size_t pending_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace engram::server
