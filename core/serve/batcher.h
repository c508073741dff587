#pragma once

// The queue between requests and the device: whatever has arrived while the device was busy becomes the next packed
// batch, under a token budget. There is no delay timer: an idle device takes a single text at once, a busy one fills
// its batches by itself.
//
//   request threads: Submit(item) ──► queue (bounded in tokens)
//   device thread:   NextBatch() ─► encode ─► item->Finish(...)
//
// Promises:
//   * every submitted item is finished exactly once: with its result, or with CANCELLED, DEADLINE_EXCEEDED or
//     UNAVAILABLE (shut down);
//   * an item that nobody waits for any more (cancelled, past its deadline) is never computed;
//   * one batch holds items of one model only;
//   * calls take turns, one item each while the batch has room, and the call that was served goes to the end: a short
//     call never waits for the end of a long one, and no call starves;
//   * an item larger than the budget goes alone (the encoder's own limit was checked before), and others may be computed
//     between its layers (NextFitting).
// Thread-safe.

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/clock.h"
#include "core/base/status.h"

namespace engram::serve {

// One sequence to encode. Implementations carry the ids and what to do with the answer.
class BatchItem {
 public:
  virtual ~BatchItem() = default;
  virtual int64_t tokens() const = 0;
  // Items with the same key may share a batch (the loaded model's address).
  virtual const void* batch_key() const = 0;
  virtual absl::Time deadline() const = 0;
  // True once the client is gone. Thread-safe.
  virtual bool cancelled() const = 0;
  // The item's end without a result. Called at most once, outside the batcher's lock.
  virtual void Fail(const absl::Status& status) = 0;
  // When the item entered the queue, for its queue time; set by Submit.
  absl::Time enqueued;
};

struct BatcherLimits {
  int64_t batch_tokens = 8192;
  int64_t queued_tokens = 1 << 20;  // more is RESOURCE_EXHAUSTED
  // Batches are kept so small that the device computes one in about this time, as measured for each key: what arrives
  // meanwhile waits no longer. Before anything is measured they are small, too. Infinite: batch_tokens alone counts.
  absl::Duration batch_time = absl::InfiniteDuration();
  // What a call waits for others at most, as reckoned when it comes (Admission).
  absl::Duration queue_time = absl::InfiniteDuration();
};

class Batcher {
 public:
  Batcher(const Clock& clock, BatcherLimits limits) : clock_(clock), limits_(limits) {}
  // Fails what is still queued with UNAVAILABLE.
  ~Batcher() { ShutDown(); }

  // Takes all of the items, as one call's turn, or, with RESOURCE_EXHAUSTED or UNAVAILABLE, none (ownership stays with the caller's shared
  // pointers and Fail is not called).
  absl::Status Submit(std::vector<std::shared_ptr<BatchItem>> items) ABSL_LOCKS_EXCLUDED(mutex_);

  // Blocks until there is work and returns a batch of it, longest item first (packed kernels like equal lengths
  // together); empty after ShutDown. Items that are cancelled or late are failed on the way.
  std::vector<std::shared_ptr<BatchItem>> NextBatch() ABSL_LOCKS_EXCLUDED(mutex_);

  // What may be computed now, between two layers of a batch above its budget: a batch within the budget, of any model, or
  // nothing. Never blocks.
  std::vector<std::shared_ptr<BatchItem>> NextFitting() ABSL_LOCKS_EXCLUDED(mutex_);

  // How long the device took for a batch of so many tokens with this key: what batch_time is held to.
  void Computed(const void* key, int64_t tokens, absl::Duration time) ABSL_LOCKS_EXCLUDED(mutex_);
  // Tokens of a batch with this key, as they are held to batch_time now.
  int64_t budget(const void* key) const ABSL_LOCKS_EXCLUDED(mutex_);

  // Wakes NextBatch for the last time; queued items fail with UNAVAILABLE. Idempotent.
  void ShutDown() ABSL_LOCKS_EXCLUDED(mutex_);

  int64_t queued_tokens() const ABSL_LOCKS_EXCLUDED(mutex_);
  int64_t queued_items() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using Items = std::vector<std::shared_ptr<BatchItem>>;
  // What one call has in the queue, of one model.
  struct Turn {
    const void* key = nullptr;
    Items items;  // oldest first, never empty
  };

  bool ReadyLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return shut_down_ || !turns_.empty(); }
  // Moves dead items from the queue into `dead`.
  void SweepLocked(Items& dead) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  double BudgetLocked(const void* key) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The key of the next batch; none where nothing waits, or, with `fitting`, nothing that is within its budget.
  std::optional<const void*> NextKeyLocked(bool fitting) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // `fitting`: only items within the budget.
  Items CutLocked(bool fitting) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LeaveLocked(int64_t items, int64_t tokens) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Clock& clock_;
  const BatcherLimits limits_;
  mutable absl::Mutex mutex_;
  std::list<Turn> turns_ ABSL_GUARDED_BY(mutex_);  // whose turn it is first
  int64_t queued_items_ ABSL_GUARDED_BY(mutex_) = 0, queued_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
  // Tokens of a batch by key, as measured. Of a version that is gone an entry may stay, and another version at its address
  // begins with it: the next batches say better.
  std::map<const void*, double> budgets_ ABSL_GUARDED_BY(mutex_);
  bool shut_down_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace engram::serve
