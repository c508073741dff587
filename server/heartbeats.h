#pragma once

// Whether the parts of the server still move: how long ago each gave a sign of life. Thread-safe.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "core/base/clock.h"
#include "server/rpc/work_pool.h"

namespace engram::server {

class Heartbeats {
 public:
  explicit Heartbeats(const Clock& steady) : clock_(steady) {}
  ~Heartbeats() { Stop(); }

  // To be called before Start. `age`: for how long a part has been at one piece of work; zero while it waits for some.
  void Watch(const std::string& part, std::function<absl::Duration()> age) ABSL_LOCKS_EXCLUDED(mutex_);
  // A pool's sign of life is that it does a piece of work that it is given once a second. The pool outlives Stop.
  void WatchPool(const std::string& part, WorkPool& pool) ABSL_LOCKS_EXCLUDED(mutex_);

  // From now on `told` is called once a second, from a thread, with the longest age.
  void Start(std::function<void(absl::Duration)> told);
  void Stop();

  // What the thread does first: gives work to each pool that has done what it was given before.
  void Beat() ABSL_LOCKS_EXCLUDED(mutex_);
  // For how long each part has not moved; zero for one that has nothing to do.
  std::map<std::string, absl::Duration> Ages() const ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Duration Longest() const;
  // The ages as a metric in Prometheus' text format.
  std::string Exposition() const;

 private:
  // Since when a pool has had a piece of work, if it has not done it; shared with that work.
  struct Given {
    absl::Mutex mutex;
    absl::Time since ABSL_GUARDED_BY(mutex) = absl::InfiniteFuture();
  };

  const Clock& clock_;
  mutable absl::Mutex mutex_;
  std::map<std::string, std::function<absl::Duration()>> ages_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::pair<WorkPool*, std::shared_ptr<Given>>> pools_ ABSL_GUARDED_BY(mutex_);
  absl::Notification closing_;
  std::thread thread_;
};

}  // namespace engram::server
