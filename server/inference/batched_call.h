#pragma once

// One call whose texts go through the engine: refused at once if it could not be answered in time, tokenized in the pool,
// encoded in the device's batches, put together in the pool again.
//
//   gRPC thread: Admit ─► pool: Prepare ─► Batcher ─► device thread: TakeResult for each sequence ─► pool: Compose ─► End
//
// Ends with exactly one status. A client that leaves cancels what is still queued, in the pool or in the Batcher.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/serve/admission.h"
#include "core/serve/engine.h"
#include "server/inference/inference_call.h"

namespace engram::server {

class BatchedCall : public InferenceCall {
 public:
  // `texts`: the request's, and `pairs` the second ones of pairs, where there may be any. `cut`: they are cut to what the
  // model takes. `beside`: bytes of the request beside its texts that take time to read. The request lives as long as
  // the call.
  BatchedCall(const InferenceBackend& backend, const grpc::CallbackServerContext& context,
              const google::protobuf::Message& reply, const char* method, const std::string& model,
              const std::string& version, const Texts& texts, const Texts* pairs, bool cut, int64_t beside = 0);

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
  absl::Status Admit() final;
  void WorkOnVersion() final;
  void OnSequence(size_t index, absl::StatusOr<serve::SequenceResult> result) ABSL_LOCKS_EXCLUDED(mutex_);

  const Texts& texts_of_call_;
  const Texts* const pairs_of_call_;
  const bool cut_;
  std::unique_ptr<serve::Admission::Ticket> ticket_;
  std::vector<std::shared_ptr<serve::BatchItem>> items_;
  std::vector<int64_t> item_tokens_;
  absl::Mutex mutex_;
  size_t pending_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace engram::server
