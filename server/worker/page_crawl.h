#pragma once

// The pages of a list, fetched ahead from several hosts at once and given in the order of the list.

#include <cstddef>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/status.h"
#include "engram/v1/collection.pb.h"

namespace engram::worker {

// Next is for one thread.
class PageCrawl {
 public:
  // Hosts at once, and pages that are fetched before their turn at most: each may be some MiB of text.
  static constexpr size_t kHosts = 4, kAhead = 16;

  // `hosts`: of each page; empty: none is asked for it. Begins with page `first`. fetch(number of the page) is called by
  // up to kHosts threads, for the pages of one host one after the other, in the order of the list. A page that was fetched
  // when it was its turn keeps its host until Next is called again, so that what the caller does with it comes before the
  // host's next page.
  PageCrawl(std::vector<std::string> hosts, size_t first,
            std::function<absl::StatusOr<engram::v1::Page>(size_t page)> fetch);
  // Stops, and waits for the calls of `fetch`.
  ~PageCrawl();
  PageCrawl(const PageCrawl&) = delete;
  PageCrawl& operator=(const PageCrawl&) = delete;

  // What fetch gave for the next page; blocks. As often as there are pages.
  absl::StatusOr<engram::v1::Page> Next() ABSL_LOCKS_EXCLUDED(mutex_);
  // No page is begun any more.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Work() ABSL_LOCKS_EXCLUDED(mutex_);
  // The first page that may be begun; the number of pages if none may now.
  size_t Choose() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Done() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopped_ || left_ == 0; }
  bool MayBegin() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return Done() || Choose() < hosts_.size(); }

  struct Fetched {
    absl::StatusOr<engram::v1::Page> page;
    bool keeps_host = false;
  };
  const std::vector<std::string> hosts_;
  const std::function<absl::StatusOr<engram::v1::Page>(size_t)> fetch_;
  absl::Mutex mutex_;
  size_t next_ ABSL_GUARDED_BY(mutex_);  // to be given
  size_t left_ ABSL_GUARDED_BY(mutex_);  // pages that are not begun
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<bool> begun_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> busy_ ABSL_GUARDED_BY(mutex_);  // hosts
  std::map<size_t, Fetched> ready_ ABSL_GUARDED_BY(mutex_);
  std::string kept_ ABSL_GUARDED_BY(mutex_);  // host of the page given last, if that keeps it
  std::vector<std::thread> threads_;
};

}  // namespace engram::worker
