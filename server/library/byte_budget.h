#pragma once

// What all uploads in flight may hold together. Thread-safe.

#include <cstdint>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "core/base/retry.h"
#include "core/base/status.h"

namespace engram::server {

class ByteBudget {
 public:
  explicit ByteBudget(int64_t bytes) : bytes_(bytes) {}

  // What one upload holds; given back when it goes. Belongs to one call; must not outlive the budget.
  class Share {
   public:
    explicit Share(ByteBudget& budget) : budget_(budget) {}
    ~Share() { Release(); }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;
    // Gives back what it has.
    void Release() { budget_.GiveBack(std::exchange(bytes_, 0)); }
    // RESOURCE_EXHAUSTED, UPLOADS_FULL, where others hold too much.
    absl::Status Add(int64_t bytes) {
      ENGRAM_RETURN_IF_ERROR(budget_.Take(bytes));
      bytes_ += bytes;
      return absl::OkStatus();
    }

   private:
    ByteBudget& budget_;
    int64_t bytes_ = 0;
  };

 private:
  absl::Status Take(int64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (bytes > bytes_ - taken_) {
      return RetryAfter(StatusWithReason(absl::StatusCode::kResourceExhausted, "UPLOADS_FULL",
                                         absl::StrCat("the uploads of all clients hold more than ", bytes_ >> 20,
                                                      " MiB together, which is what this server keeps in memory "
                                                      "(max_uploads_mb): retry when others have ended")),
                        absl::Seconds(5));
    }
    taken_ += bytes;
    return absl::OkStatus();
  }
  void GiveBack(int64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    taken_ -= bytes;
  }

  const int64_t bytes_;
  absl::Mutex mutex_;
  int64_t taken_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace engram::server
