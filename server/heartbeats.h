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

  // kShown: the part's age is told, and says nothing of whether calls are answered.
  enum class Counts { kYes, kShown };
  // All three are to be called before Start. `age`: for how long a part has been at one piece of work; zero while it waits
  // for some.
  void Watch(const std::string& part, std::function<absl::Duration()> age, Counts counts = Counts::kYes)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Gives a part something to do, which calls `done`, from any thread, once it is done, well or not.
  using Ask = std::function<void(std::function<void()> done)>;
  // The part's sign of life is that it does what it is asked for once a second. What `ask` needs outlives Stop, and what
  // is asked for may be done later.
  void WatchAsked(const std::string& part, Ask ask) ABSL_LOCKS_EXCLUDED(mutex_);
  void WatchPool(const std::string& part, WorkPool& pool) ABSL_LOCKS_EXCLUDED(mutex_) {
    WatchAsked(part, [&pool](std::function<void()> done) { pool.Schedule(std::move(done)); });
  }

  // From now on `told` is called once a second, from a thread, with the longest age.
  void Start(std::function<void(absl::Duration)> told);
  void Stop();

  // What the thread does first: asks each part that has done what it was asked for before.
  void Beat() ABSL_LOCKS_EXCLUDED(mutex_);
  // For how long each part has not moved; zero for one that has nothing to do.
  std::map<std::string, absl::Duration> Ages() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Of the parts that count.
  absl::Duration Longest() const ABSL_LOCKS_EXCLUDED(mutex_);
  // The ages as a metric in Prometheus' text format.
  std::string Exposition() const;

 private:
  // Since when a part has had something to do, if it has not done it; shared with that.
  struct Given {
    absl::Mutex mutex;
    absl::Time since ABSL_GUARDED_BY(mutex) = absl::InfiniteFuture();
  };
  struct Part {
    std::function<absl::Duration()> age;
    Counts counts = Counts::kYes;
  };

  const Clock& clock_;
  mutable absl::Mutex mutex_;
  std::map<std::string, Part> parts_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::pair<Ask, std::shared_ptr<Given>>> asked_ ABSL_GUARDED_BY(mutex_);
  absl::Notification closing_;
  std::thread thread_;
};

}  // namespace engram::server
