#pragma once

// Threads for what must not run on gRPC's: loading, tokenizing, checking uploads. Thread-safe.
//
// Work is begun in order of arrival, but long work never has the last thread: short work that comes behind it finds one
// that is soon free again.

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace engram::server {

class WorkPool {
 public:
  enum class Length { kShort, kLong };  // kLong: may take seconds to minutes

  // `nice`: how much the threads, and those that they start, stand back where cores are short (0 to 19).
  explicit WorkPool(int threads, int nice = 0) : long_limit_(std::max(1, threads - 1)) {
    for (int i = 0; i < threads; ++i) {
      threads_.emplace_back([this, nice] {
        if (nice > 0) StandBack(nice);
        Run();
      });
    }
  }
  // Runs what is queued, then ends.
  ~WorkPool() {
    {
      absl::MutexLock lock(&mutex_);
      closed_ = true;
    }
    for (std::thread& thread : threads_) thread.join();
  }

  // The number is for Withdraw.
  int64_t Schedule(std::function<void()> work, Length length = Length::kShort) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    (length == Length::kLong ? long_ : short_).push_back({++last_number_, std::move(work)});
    return last_number_;
  }
  // Work that has not begun.
  size_t waiting() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return short_.size() + long_.size();
  }
  // Takes back work that has not begun: true if it will never run, false if it has begun.
  bool Withdraw(int64_t number) ABSL_LOCKS_EXCLUDED(mutex_) {
    const auto is_it = [number](const Work& work) { return work.number == number; };
    absl::MutexLock lock(&mutex_);
    return std::erase_if(short_, is_it) + std::erase_if(long_, is_it) > 0;
  }

 private:
  struct Work {
    int64_t number;  // ascends with arrival
    std::function<void()> run;
  };

  // Of the calling thread. A kernel that refuses leaves it as it is.
  static void StandBack(int nice) {
    setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), getpriority(PRIO_PROCESS, 0) + nice);
  }
  bool LongMayBegin() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !long_.empty() && long_running_ < long_limit_;
  }
  // In a closed pool a thread that finds nothing to begin ends; long work that still waits is left to those that run
  // such work now.
  bool Ready() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closed_ || !short_.empty() || LongMayBegin(); }
  void Run() ABSL_LOCKS_EXCLUDED(mutex_) {
    while (true) {
      std::function<void()> work;
      bool is_long = false;
      {
        absl::MutexLock lock(&mutex_);
        mutex_.Await(absl::Condition(this, &WorkPool::Ready));
        is_long = LongMayBegin() && (short_.empty() || long_.front().number < short_.front().number);
        std::deque<Work>& queue = is_long ? long_ : short_;
        if (queue.empty()) return;
        work = std::move(queue.front().run);
        queue.pop_front();
        if (is_long) ++long_running_;
      }
      work();
      if (is_long) {
        absl::MutexLock lock(&mutex_);
        --long_running_;
      }
    }
  }

  const int long_limit_;
  mutable absl::Mutex mutex_;
  std::deque<Work> short_ ABSL_GUARDED_BY(mutex_), long_ ABSL_GUARDED_BY(mutex_);
  int64_t last_number_ ABSL_GUARDED_BY(mutex_) = 0;
  int long_running_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace engram::server
