// A fetcher that several threads ask.

#include <algorithm>
#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "core/web/fetcher.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::web {
namespace {

// Pages of 100 bytes; robots.txt of every host is there and allows all.
class CountedWeb final : public HttpClient {
 public:
  absl::StatusOr<HttpResponse> Get(const HttpRequest& request) const override {
    {
      const absl::MutexLock lock(&mutex_);
      most_ = std::max(most_, ++active_[request.url.host]);
      asked_.push_back(request.url.text);
    }
    std::this_thread::yield();
    HttpResponse answer{.status = 200, .content_type = "text/html"};
    if (request.url.target != "/robots.txt")
      answer.body.assign(static_cast<size_t>(std::min<int64_t>(request.max_bytes, 100)), 'x');
    answer.downloaded_bytes = static_cast<int64_t>(answer.body.size());
    const absl::MutexLock lock(&mutex_);
    --active_[request.url.host];
    bytes_ += answer.downloaded_bytes;
    return answer;
  }
  int most() const { return most_; }
  int64_t bytes() const { return bytes_; }
  int64_t Asked(const std::string& url) const { return std::count(asked_.begin(), asked_.end(), url); }

 private:
  mutable absl::Mutex mutex_;
  mutable std::map<std::string, int> active_;
  mutable int most_ = 0;
  mutable int64_t bytes_ = 0;
  mutable std::vector<std::string> asked_;
};

// `threads` fetch `pages` pages each, of two hosts. The pages that could be fetched.
int FetchAll(Fetcher& fetcher, int threads, int pages, std::atomic<int64_t>& downloaded) {
  std::atomic<int> good = 0;
  std::vector<std::thread> running;
  for (int thread = 0; thread < threads; ++thread) {
    running.emplace_back([&, thread] {
      for (int page = 0; page < pages; ++page) {
        int64_t bytes = 0;
        good += fetcher.Fetch(absl::StrCat("http://host", page % 2, ".org/", thread, "-", page), &bytes).ok() ? 1 : 0;
        downloaded += bytes;
      }
    });
  }
  for (std::thread& thread : running) thread.join();
  return good;
}

TEST(FetcherThreads, AHostIsAskedOnceAtATimeAndItsRulesOnce) {
  const CountedWeb web;
  std::atomic<int> waits = 0;
  Fetcher fetcher(web, PageCache(""), Clock::Real(), [&](absl::Duration) { return ++waits > 0; },
                  {.contact = "a@b.example"});
  std::atomic<int64_t> downloaded = 0;
  EXPECT_EQ(FetchAll(fetcher, 8, 20, downloaded), 160);
  EXPECT_EQ(web.most(), 1);
  EXPECT_EQ(web.Asked("http://host0.org/robots.txt"), 1);
  EXPECT_EQ(web.Asked("http://host1.org/robots.txt"), 1);
  EXPECT_EQ(downloaded, 160 * 100);
  EXPECT_EQ(waits, 160) << "before every request but the first of a host";
}

TEST(FetcherThreads, TheBoundOfAllBytesHolds) {
  const CountedWeb web;
  Fetcher fetcher(web, PageCache(""), Clock::Real(), [](absl::Duration) { return true; },
                  {.contact = "a@b.example", .max_page_bytes = 100, .max_total_bytes = 5000});
  std::atomic<int64_t> downloaded = 0;
  const int good = FetchAll(fetcher, 8, 20, downloaded);
  EXPECT_LE(web.bytes(), 5000);
  EXPECT_EQ(downloaded, web.bytes());
  EXPECT_GE(good, 40);
  EXPECT_LT(good, 160);
}

}  // namespace
}  // namespace engram::web
