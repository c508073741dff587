#pragma once

// The device's side of inference: one thread that takes batches from the Batcher, encodes them and hands each item its
// logits. A text that alone takes longer than a batch may is computed layer by layer, and between two layers what has come
// meanwhile and fits a batch.
//
//   Engine engine(clock, limits, threads);
//   engine.batcher().Submit({std::make_shared<SequenceItem>(version, sequence, heads, deadline, done)});
//
// Thread-safe.

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "ATen/core/Tensor.h"
#include "core/serve/admission.h"
#include "core/serve/batcher.h"
#include "core/serve/device_health.h"
#include "core/serve/served_version.h"

namespace engram::serve {

// Asks for the text's vector instead of logits.
struct VectorQuery {
  int64_t prompt_tokens = 0;  // of nn::SentenceVectors::Apply
};

struct SequenceResult {
  // Task -> logits fp32 on the CPU: [C] for sequence classification, [length, C] for token classification.
  std::map<std::string, at::Tensor> logits;
  at::Tensor vector;           // of nn::SentenceVectors::Apply, for a VectorQuery
  double queue_seconds = 0;    // from Submit to the batch
  double compute_seconds = 0;  // of the whole batch, others between its layers included
};

// One sequence, and the heads that are asked for it or the vector. Items that ask for vectors share no batch with others.
class SequenceItem final : public BatchItem {
 public:
  // Called once, from the engine's thread or from the one that shuts it down; must return soon.
  using Done = std::function<void(absl::StatusOr<SequenceResult>)>;

  SequenceItem(std::shared_ptr<const ServedVersion> version, nn::Sequence sequence, std::vector<std::string> heads,
               absl::Time deadline, std::shared_ptr<const std::atomic<bool>> cancelled, Done done,
               std::optional<VectorQuery> vector = std::nullopt)
      : version_(std::move(version)),
        sequence_(std::move(sequence)),
        heads_(std::move(heads)),
        deadline_(deadline),
        cancelled_(std::move(cancelled)),
        done_(std::move(done)),
        vector_(vector) {}

  int64_t tokens() const override { return static_cast<int64_t>(sequence_.ids.size()); }
  const void* batch_key() const override {
    return vector_ ? static_cast<const void*>(&version_->vectors) : version_.get();
  }
  absl::Time deadline() const override { return deadline_; }
  bool cancelled() const override { return cancelled_ != nullptr && cancelled_->load(std::memory_order_relaxed); }
  void Fail(const absl::Status& status) override { done_(status); }
  void Finish(SequenceResult result) { done_(std::move(result)); }

  const ServedVersion& version() const { return *version_; }
  const nn::Sequence& sequence() const { return sequence_; }
  const std::vector<std::string>& heads() const { return heads_; }
  const std::optional<VectorQuery>& vector() const { return vector_; }

 private:
  const std::shared_ptr<const ServedVersion> version_;
  const nn::Sequence sequence_;
  const std::vector<std::string> heads_;
  const absl::Time deadline_;
  const std::shared_ptr<const std::atomic<bool>> cancelled_;
  const Done done_;
  const std::optional<VectorQuery> vector_;
};

struct EngineCounters {
  std::atomic<int64_t> batches{0}, sequences{0}, tokens{0}, microseconds{0};
};

class Engine {
 public:
  // `threads`: what one batch computes with; 0: libtorch's default. `on_device_failure`: see DeviceHealth.
  Engine(const Clock& clock, BatcherLimits limits, int threads, std::function<void()> on_device_failure);
  // Fails what is queued with UNAVAILABLE and waits for the batch in progress.
  ~Engine();

  // Only SequenceItems may be submitted.
  Batcher& batcher() { return batcher_; }
  // To be asked before a call is tokenized.
  Admission& admission() { return admission_; }
  // For those that compute on the same device beside the engine to note what they saw.
  DeviceHealth& health() { return health_; }
  const EngineCounters& counters() const { return counters_; }
  // For how long the device has been at what it computes now: at a batch, or, of a text that is computed layer by layer, at
  // a layer. Zero while nothing waits.
  absl::Duration computing() const;
  void ShutDown() { batcher_.ShutDown(); }

 private:
  void Run(int threads);
  struct Pass;
  // Computes a batch, and others between its layers if it is above the budget.
  void Compute(const std::vector<std::shared_ptr<BatchItem>>& batch);
  void ComputeOthers();
  static void Finish(const Pass& pass, size_t index, SequenceItem& item);

  const Clock& clock_;
  Admission admission_;  // outlives the tickets of what the batcher holds
  Batcher batcher_;
  DeviceHealth health_;
  EngineCounters counters_;
  std::atomic<int64_t> computing_since_{0};  // nanoseconds of the clock; 0: not computing
  std::thread thread_;
};

}  // namespace engram::serve
