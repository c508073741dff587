#pragma once

// Ends uploads whose client sends nothing for long, or that take longer than any upload may: what they hold is given back.

#include <cstdint>
#include <functional>
#include <map>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "core/base/clock.h"

namespace engram::server {

// Looks after its calls once a second, in a thread of its own. Thread-safe.
class IdleWatch {
 public:
  // `idle`: the longest time between two messages; `whole`: the longest time of a call's messages, all together.
  IdleWatch(const Clock& steady, absl::Duration idle, absl::Duration whole)
      : clock_(steady), idle_(idle), whole_(whole), thread_([this] { Run(); }) {}
  ~IdleWatch() {
    closing_.Notify();
    thread_.join();
  }

  // `end` is called once, from the thread, under the watch's lock, if the call is idle for too long; it has to return at
  // once. The number is for the others.
  int64_t Add(std::function<void()> end) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    const absl::Time now = clock_.Now();
    calls_[++last_] = {now, now, std::move(end)};
    return last_;
  }
  // A message has come.
  void Touch(int64_t number) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (const auto found = calls_.find(number); found != calls_.end()) found->second.touched = clock_.Now();
  }
  // No message is waited for any more. `end` is not called afterwards.
  void Remove(int64_t number) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    calls_.erase(number);
  }
  // What the thread does.
  void Look() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    const absl::Time now = clock_.Now();
    for (auto call = calls_.begin(); call != calls_.end();) {
      if (now - call->second.touched <= idle_ && now - call->second.begun <= whole_) {
        ++call;
        continue;
      }
      call->second.end();
      call = calls_.erase(call);
    }
  }

 private:
  struct Call {
    absl::Time begun, touched;
    std::function<void()> end;
  };
  void Run() {
    while (!closing_.WaitForNotificationWithTimeout(absl::Seconds(1))) Look();
  }

  const Clock& clock_;
  const absl::Duration idle_, whole_;
  absl::Mutex mutex_;
  std::map<int64_t, Call> calls_ ABSL_GUARDED_BY(mutex_);
  int64_t last_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Notification closing_;
  std::thread thread_;
};

}  // namespace engram::server
