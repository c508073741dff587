#pragma once

// Threads for what must not run on gRPC's: loading, tokenizing, checking uploads. Thread-safe.
//
// Work is begun in order of arrival. Long work has threads of its own, one less than short work has (but one), which stand
// back where cores are short: short work neither waits for it nor shares a core with it evenly.

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

  // `nice`: how much the threads, and those that they start, stand back where cores are short (0 to 19); those of long
  // work stand back kLongNice at least.
  static constexpr int kLongNice = 10;
  explicit WorkPool(int threads, int nice = 0)
      : long_threads_(std::max(1, threads - 1)), long_nice_(std::max(nice, kLongNice)) {
    for (int i = 0; i < threads; ++i) threads_.push_back(Thread(nice, Length::kShort));
  }
  // Runs what is queued, then ends.
  ~WorkPool() {
    {
      absl::MutexLock lock(&mutex_);
      closed_ = true;
    }
    for (std::thread& thread : threads_) thread.join();
  }
  WorkPool(const WorkPool&) = delete;
  WorkPool& operator=(const WorkPool&) = delete;

  // The number is for Withdraw.
  int64_t Schedule(std::function<void()> work, Length length = Length::kShort) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    // Only a pool that is given long work has threads for it.
    if (length == Length::kLong && closed_ && long_threads_ > 0) length = Length::kShort;
    for (; length == Length::kLong && long_threads_ > 0; --long_threads_)
      threads_.push_back(Thread(long_nice_, Length::kLong));
    Queue(length).push_back({++last_number_, std::move(work)});
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
  std::thread Thread(int nice, Length length) {
    return std::thread([this, nice, length] {
      if (nice > 0) StandBack(nice);
      Run(length);
    });
  }
  std::deque<Work>& Queue(Length length) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return length == Length::kLong ? long_ : short_;
  }
  // Nothing is left that could give the pool more to do.
  bool Done() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return closed_ && running_ == 0 && short_.empty() && long_.empty();
  }
  void Run(Length length) ABSL_LOCKS_EXCLUDED(mutex_) {
    const auto ready = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !Queue(length).empty() || Done(); };
    while (true) {
      std::function<void()> work;
      {
        absl::MutexLock lock(&mutex_);
        mutex_.Await(absl::Condition(&ready));
        std::deque<Work>& queue = Queue(length);
        if (queue.empty()) return;
        work = std::move(queue.front().run);
        queue.pop_front();
        ++running_;
      }
      work();
      work = nullptr;
      absl::MutexLock lock(&mutex_);
      --running_;
    }
  }

  mutable absl::Mutex mutex_;
  std::deque<Work> short_ ABSL_GUARDED_BY(mutex_), long_ ABSL_GUARDED_BY(mutex_);
  int64_t last_number_ ABSL_GUARDED_BY(mutex_) = 0;
  int long_threads_ ABSL_GUARDED_BY(mutex_);  // that are still to be started
  const int long_nice_;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;  // grows under mutex_
};

}  // namespace engram::server
