#pragma once

// Whether a call is taken at all, asked before anything of it is tokenized: a call that could not be answered in time is
// refused at once instead of being worked on in vain, so that a server that is asked for more than it can do goes on doing
// what it can.
//
//   arrival:   ticket = Admit(texts, bytes, deadline)    or RESOURCE_EXHAUSTED, QUEUE_FULL, with when to try again
//   tokenized: ticket->Tokenized(items, tokens, bytes)   what the estimate is replaced by
//   device:    Computed(tokens, budget) for each batch
//   answers:   ticket->Answered(tokens) for each item;  ~Ticket gives back the rest
//
// The time that a call will take is reckoned from the tokens that are computed before its end and the tokens that were
// computed in a second, in all, while enough was waiting. Calls take turns item by item (Batcher), so before the end of a
// call of n items come of each other call as many items. Refused is what would end beyond its deadline, or wait longer
// than queue_time. Nothing is refused as long as nothing waits, or before a speed was measured. Thread-safe.

#include <cstdint>
#include <memory>
#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/clock.h"
#include "core/base/status.h"

namespace engram::serve {

class Admission {
 public:
  // `queue_time`: what a call waits for others at most, as reckoned.
  Admission(const Clock& clock, absl::Duration queue_time) : clock_(clock), queue_time_(queue_time) {}

  // A call's place. Belongs to the call; thread-safe. Must not outlive the Admission.
  class Ticket {
   public:
    ~Ticket();
    Ticket(const Ticket&) = delete;
    Ticket& operator=(const Ticket&) = delete;
    // What the call turned out to be. `bytes`: of the texts that the tokens are of; 0 where they say nothing of others
    // (texts that were cut).
    void Tokenized(int64_t items, int64_t tokens, int64_t bytes);
    // One item more, where the call brings them one after the other.
    void Add(int64_t tokens);
    // One item of so many tokens is done, well or not.
    void Answered(int64_t tokens);

   private:
    friend class Admission;
    explicit Ticket(Admission& admission) : admission_(admission) {}
    Admission& admission_;
    // Guarded by admission_.mutex_, which the analysis cannot name from here.
    int64_t items_ = 0, tokens_ = 0;
  };

  // A call of `texts` (>= 0) with `bytes` in all.
  absl::StatusOr<std::unique_ptr<Ticket>> Admit(int64_t texts, int64_t bytes, absl::Time deadline)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // A stream that brings its texts itself, and bounds how many wait: nothing of it is refused, and what it adds counts
  // for the calls that come.
  std::unique_ptr<Ticket> Join();

  // A batch is computed. `budget`: the tokens of a full one.
  void Computed(int64_t tokens, int64_t budget) ABSL_LOCKS_EXCLUDED(mutex_);

  // 0 before it was measured.
  double tokens_per_second() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Of all calls that were admitted and are not answered.
  int64_t waiting_tokens() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  int64_t EstimateLocked(int64_t bytes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  double AheadLocked(int64_t items) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckLocked(int64_t items, int64_t tokens, absl::Time now, absl::Time deadline) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ChangeLocked(Ticket& ticket, int64_t items, int64_t tokens) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Clock& clock_;
  const absl::Duration queue_time_;
  mutable absl::Mutex mutex_;
  std::set<const Ticket*> calls_ ABSL_GUARDED_BY(mutex_);  // those with tokens
  int64_t waiting_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
  // Since when the time counts that the next batch took.
  absl::Time since_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  // Sums that fade: tokens and the seconds that they took, tokens and the bytes that they were made of.
  double speed_tokens_ ABSL_GUARDED_BY(mutex_) = 0, speed_seconds_ ABSL_GUARDED_BY(mutex_) = 0;
  double text_tokens_ ABSL_GUARDED_BY(mutex_) = 0, text_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace engram::serve
