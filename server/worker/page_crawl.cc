#include "server/worker/page_crawl.h"

#include <algorithm>
#include <utility>

namespace engram::worker {

PageCrawl::PageCrawl(std::vector<std::string> hosts, size_t first,
                     std::function<absl::StatusOr<engram::v1::Page>(size_t page)> fetch)
    : hosts_(std::move(hosts)),
      fetch_(std::move(fetch)),
      next_(first),
      left_(hosts_.size() - std::min(first, hosts_.size())),
      begun_(hosts_.size()) {
  const size_t threads = std::min(kHosts, hosts_.size() - std::min(first, hosts_.size()));
  for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
}

PageCrawl::~PageCrawl() {
  Stop();
  for (std::thread& thread : threads_) thread.join();
}

void PageCrawl::Stop() {
  const absl::MutexLock lock(&mutex_);
  stopped_ = true;
}

size_t PageCrawl::Choose() const {
  const size_t end = std::min(hosts_.size(), next_ + kAhead);
  for (size_t page = next_; page < end; ++page) {
    if (!begun_[page] && (hosts_[page].empty() || !busy_.contains(hosts_[page]))) return page;
  }
  return hosts_.size();
}

void PageCrawl::Work() {
  while (true) {
    size_t page = 0;
    {
      const absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &PageCrawl::MayBegin));
      if (Done()) return;
      page = Choose();
      begun_[page] = true;
      --left_;
      if (!hosts_[page].empty()) busy_.insert(hosts_[page]);
    }
    absl::StatusOr<engram::v1::Page> fetched = fetch_(page);
    const absl::MutexLock lock(&mutex_);
    const bool keeps_host = page == next_;
    ready_.emplace(page, Fetched{std::move(fetched), keeps_host});
    if (!keeps_host) busy_.erase(hosts_[page]);
  }
}

absl::StatusOr<engram::v1::Page> PageCrawl::Next() {
  const absl::MutexLock lock(&mutex_);
  busy_.erase(std::exchange(kept_, ""));
  const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return ready_.contains(next_) || stopped_; };
  mutex_.Await(absl::Condition(&ready));
  const auto found = ready_.find(next_);
  if (found == ready_.end()) return absl::CancelledError("the collection was stopped");
  absl::StatusOr<engram::v1::Page> page = std::move(found->second.page);
  if (found->second.keeps_host) kept_ = hosts_[next_];
  ready_.erase(found);
  ++next_;
  return page;
}

}  // namespace engram::worker
