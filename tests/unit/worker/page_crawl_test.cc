#include "server/worker/page_crawl.h"

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::worker {
namespace {

using engram::v1::Page;
using testing::Each;
using testing::Le;

constexpr absl::Duration kLong = absl::Seconds(20);  // a test that works never waits for it

// Pages that say their number. What is going on at a time, host by host.
class Web {
 public:
  explicit Web(std::vector<std::string> hosts) : hosts_(std::move(hosts)) {}

  absl::StatusOr<Page> Get(size_t page) {
    const absl::MutexLock lock(&mutex_);
    begun_.push_back(page);
    most_at_host_ = std::max(most_at_host_, ++active_[hosts_[page]]);
    most_ = std::max(most_, ++all_);
    const auto free = [this, page] { return !held_[page]; };
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&free), kLong));
    --active_[hosts_[page]];
    --all_;
    Page made;
    made.set_source(std::to_string(page));
    return made;
  }
  void Hold(size_t page) {
    const absl::MutexLock lock(&mutex_);
    held_[page] = true;
  }
  void LetGo(size_t page) {
    const absl::MutexLock lock(&mutex_);
    held_[page] = false;
  }
  bool WaitUntilBegun(size_t pages) {
    const absl::MutexLock lock(&mutex_);
    const auto begun = [this, pages] { return begun_.size() >= pages; };
    return mutex_.AwaitWithTimeout(absl::Condition(&begun), kLong);
  }
  std::vector<size_t> begun() {
    const absl::MutexLock lock(&mutex_);
    return begun_;
  }
  int most_at_host() const { return most_at_host_; }
  int most() const { return most_; }

 private:
  const std::vector<std::string> hosts_;
  absl::Mutex mutex_;
  std::map<size_t, bool> held_;
  std::map<std::string, int> active_;
  std::vector<size_t> begun_;
  int all_ = 0, most_ = 0, most_at_host_ = 0;
};

TEST(PageCrawl, SeveralHostsAreAskedAtOnceAndPagesComeInOrder) {
  const std::vector<std::string> hosts = {"a", "b", "c", "d", "a"};
  Web web(hosts);
  for (size_t page = 0; page < 4; ++page) web.Hold(page);
  PageCrawl crawl(hosts, 0, [&](size_t page) { return web.Get(page); });
  ASSERT_TRUE(web.WaitUntilBegun(4)) << "the second host waits for the first";
  for (const size_t page : {3, 1, 2, 0}) web.LetGo(page);
  for (int page = 0; page < 5; ++page) EXPECT_EQ(crawl.Next()->source(), std::to_string(page));
  EXPECT_EQ(web.most(), 4);
  EXPECT_EQ(web.most_at_host(), 1);
}

TEST(PageCrawl, OfOneHostOneAtATimeInTheOrderOfTheList) {
  std::mt19937 random(3);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::string> hosts(60);
    for (std::string& host : hosts) host = std::string(1, static_cast<char>('a' + random() % 6));
    const size_t first = random() % 10;
    Web web(hosts);
    {
      PageCrawl crawl(hosts, first, [&](size_t page) { return web.Get(page); });
      for (size_t page = first; page < hosts.size(); ++page) EXPECT_EQ(crawl.Next()->source(), std::to_string(page));
    }
    EXPECT_EQ(web.most_at_host(), 1);
    EXPECT_LE(web.most(), static_cast<int>(PageCrawl::kHosts));
    std::map<std::string, size_t> last;
    for (const size_t page : web.begun()) {
      EXPECT_TRUE(!last.contains(hosts[page]) || last[hosts[page]] < page);
      last[hosts[page]] = page;
    }
    EXPECT_EQ(web.begun().size(), hosts.size() - first);
  }
}

// What the caller does with a page, as writing it down, comes before the next request to its host.
TEST(PageCrawl, APageKeepsItsHostUntilTheCallerComesBack) {
  const std::vector<std::string> hosts = {"a", "a", "b"};
  Web web(hosts);
  web.Hold(0);
  PageCrawl crawl(hosts, 0, [&](size_t page) { return web.Get(page); });
  ASSERT_TRUE(web.WaitUntilBegun(2));
  web.LetGo(0);
  EXPECT_EQ(crawl.Next()->source(), "0");
  EXPECT_THAT(web.begun(), testing::UnorderedElementsAre(0, 2));
  EXPECT_EQ(crawl.Next()->source(), "1");
  EXPECT_EQ(crawl.Next()->source(), "2");
}

TEST(PageCrawl, FetchesAFewPagesAhead) {
  std::vector<std::string> hosts(100);
  for (size_t page = 0; page < hosts.size(); ++page) hosts[page] = page == 0 ? "slow" : "h" + std::to_string(page);
  Web web(hosts);
  web.Hold(0);
  PageCrawl crawl(hosts, 0, [&](size_t page) { return web.Get(page); });
  ASSERT_TRUE(web.WaitUntilBegun(PageCrawl::kAhead));
  EXPECT_THAT(web.begun(), Each(Le(PageCrawl::kAhead - 1)));
  web.LetGo(0);
  for (size_t page = 0; page < hosts.size(); ++page) ASSERT_EQ(crawl.Next()->source(), std::to_string(page));
}

TEST(PageCrawl, ErrorsComeAtTheirTurnAndAStoppedCrawlEnds) {
  const std::vector<std::string> hosts = {"a", "", "b", "a"};
  PageCrawl crawl(hosts, 1, [](size_t page) -> absl::StatusOr<Page> {
    if (page == 2) return absl::InternalError("no page");
    Page made;
    made.set_source(std::to_string(page));
    return made;
  });
  EXPECT_EQ(crawl.Next()->source(), "1");
  EXPECT_EQ(crawl.Next().status().message(), "no page");
  EXPECT_EQ(crawl.Next()->source(), "3");
  Web web(hosts);
  web.Hold(0);
  PageCrawl stopped(hosts, 0, [&](size_t page) { return web.Get(page); });
  ASSERT_TRUE(web.WaitUntilBegun(1));
  stopped.Stop();
  EXPECT_TRUE(absl::IsCancelled(stopped.Next().status()));
  web.LetGo(0);
}

}  // namespace
}  // namespace engram::worker
