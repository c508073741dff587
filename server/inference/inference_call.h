#pragma once

// One call whose texts go through the engine: tokenized in the pool, encoded in the device's batches, put together in
// the pool again.
//
//   gRPC thread ─► pool: Prepare ─► Batcher ─► device thread: TakeResult for each sequence ─► pool: Compose ─► Finish
//
// Ends with exactly one status. A client that leaves cancels what is still queued, in the pool or in the Batcher.

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/jobs/store.h"
#include "core/serve/engine.h"
#include "core/serve/model_set.h"
#include "engram/v1/inference.pb.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/calls.h"
#include "server/rpc/work_pool.h"

namespace engram::server {

struct InferenceParts {
  jobs::Store& store;
  serve::ModelSet& models;
  serve::Engine& engine;
  WorkPool& pool;
  Metrics& metrics;
  int64_t max_texts;
};

// What one call may ask of the server's memory: a token's place in an answer takes a hundred bytes.
inline constexpr int64_t kMaxTextBytes = 16 << 20, kMaxTokens = 1 << 20;

class InferenceCall : public grpc::ServerUnaryReactor {
 public:
  // `prepare`: how long Prepare may take.
  InferenceCall(const InferenceParts& parts, grpc::CallbackServerContext* context, const char* method,
                WorkPool::Length prepare = WorkPool::Length::kShort);
  // Hands the call to the pool. To be called once after construction.
  void Begin();
  void OnCancel() override;
  void OnDone() override { delete this; }

 protected:
  // In the pool. Opens the version, checks the request, adds sequences.
  virtual absl::Status Prepare() = 0;
  // The answer of sequence `index` (in the order of AddSequence), or why there is none. One call at a time.
  virtual void TakeResult(size_t index, absl::StatusOr<serve::SequenceResult> result) = 0;
  // In the pool, when all results are there. Fills the response.
  virtual absl::Status Compose() = 0;

  absl::Status OpenVersion(const std::string& model, const std::string& version);
  // INVALID_ARGUMENT unless they are 1 to max_texts of together at most kMaxTextBytes.
  absl::Status CheckTexts(const google::protobuf::RepeatedPtrField<std::string>& texts) const;
  // Counts tokens of the call's texts: INVALID_ARGUMENT beyond kMaxTokens, CANCELLED once the client has gone. For
  // calls that take texts of any length, before they make anything of the tokens.
  absl::Status AddTokens(size_t count);
  void AddSequence(nn::Sequence sequence, std::vector<std::string> heads);

  const InferenceParts parts_;
  std::shared_ptr<const serve::ServedVersion> version_;
  engram::v1::Timings timings_;  // compute_seconds is for a Prepare that computes to set; the rest is set here
  const absl::Time deadline_;
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);

 private:
  void Run();
  void OnSequence(size_t index, absl::StatusOr<serve::SequenceResult> result) ABSL_LOCKS_EXCLUDED(mutex_);
  void Close(const absl::Status& status) {
    parts_.engine.health().Note(status);
    Finish(record_.Close(status));
  }

  const WorkPool::Length prepare_;
  absl::Time opened_ = absl::InfinitePast();
  int64_t tokens_ = 0;     // of AddTokens
  int64_t scheduled_ = 0;  // Run's number in the pool
  CallRecord record_;
  std::vector<std::shared_ptr<serve::BatchItem>> items_;
  absl::Mutex mutex_;
  size_t pending_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace engram::server
