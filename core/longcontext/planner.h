#pragma once

// What an encode takes, before it starts: seconds from the speed of the model's own layers on this machine, bytes from
// the sizes of what is held at the peak.

#include <cstdint>
#include <map>
#include <tuple>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/status.h"
#include "core/longcontext/document.h"
#include "core/longcontext/model_vector.h"
#include "core/longcontext/streamed_encoder.h"
#include "core/nn/model.h"

namespace engram::longcontext {

// How fast models of each shape are here, measured when it is first asked for (tens of milliseconds for a small model).
// Thread-safe; two that ask wait for one another. libtorch's exceptions pass.
class SpeedBook {
 public:
  // Of Model::Encode on batches of sequences of that length: seconds for each token.
  double PackedSecondsPerToken(const nn::Model& model, int64_t length) ABSL_LOCKS_EXCLUDED(mutex_);
  StreamSpeed Streamed(const nn::Model& model, const StreamedEncoder& encoder) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // family, hidden, layers, heads, key heads, head width, intermediate, precision, device, length
  using Key = std::tuple<const checkpoint::FamilySpec*, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                         nn::Precision, int64_t, int64_t>;
  static Key KeyOf(const nn::Model& model, int64_t length);

  absl::Mutex mutex_;
  std::map<Key, double> packed_ ABSL_GUARDED_BY(mutex_);
  std::map<Key, StreamSpeed> streamed_ ABSL_GUARDED_BY(mutex_);
};

struct Estimate {
  int64_t tokens = 0, tokens_encoded = 0, windows = 0;
  double seconds = 0;  // with nothing beside it
  int64_t bytes = 0;   // at the peak, beside the model
  // The longest text, in content tokens, that `free` bytes and the positions allow.
  int64_t largest_tokens = 0;
};

// `free`: bytes that may be taken.
absl::StatusOr<Estimate> EstimateDocument(const nn::Model& model, const DocumentPlan& plan,
                                          const EncodeOptions& options, int64_t free, SpeedBook& speeds);
absl::StatusOr<Estimate> EstimateByModules(const nn::Model& model, int64_t width, const ModelPlan& plan,
                                           const EncodeOptions& options, int64_t free, SpeedBook& speeds);

// Bytes that are promised to encodes which run now. Thread-safe.
class MemoryLedger {
 public:
  // Gives the bytes back when it goes.
  class Reservation {
   public:
    Reservation(MemoryLedger* ledger, int64_t bytes) : ledger_(ledger), bytes_(bytes) {}
    Reservation(Reservation&& other) noexcept : ledger_(other.ledger_), bytes_(other.bytes_) { other.bytes_ = 0; }
    Reservation& operator=(Reservation&&) = delete;
    ~Reservation() {
      if (bytes_ != 0) ledger_->Release(bytes_);  // one that was moved from may go while the ledger is locked
    }

   private:
    MemoryLedger* ledger_;
    int64_t bytes_;
  };

  // Of `free` bytes of the machine, those that are not promised. What a running encode has taken already counts in both:
  // the answer is rather too small than too large.
  int64_t Unpromised(int64_t free) const ABSL_LOCKS_EXCLUDED(mutex_);
  // RESOURCE_EXHAUSTED (OUT_OF_MEMORY) if the estimate does not fit into `free` less what is promised: it says how much
  // is needed, how much is free and the largest text that fits.
  absl::StatusOr<Reservation> Reserve(const Estimate& estimate, int64_t free) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Release(int64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);

  mutable absl::Mutex mutex_;
  int64_t promised_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace engram::longcontext
