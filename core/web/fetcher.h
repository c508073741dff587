#pragma once

// Pages of the web, fetched as a guest should: what robots.txt allows (RFC 9309), one request at a time and host with a
// pause between two, however many threads ask, and again only what has changed.
//
// Example:
//   CurlClient client(allowed, stop);
//   Fetcher fetcher(client, PageCache(folder), Clock::Real(), wait, {.contact = "https://example.org/crawler"});
//   ASSIGN_OR_RETURN(FetchedPage page, fetcher.Fetch("https://example.org/"));

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/web/http_client.h"
#include "core/web/page_cache.h"
#include "core/web/robots.h"

namespace engram::web {

struct FetchOptions {
  std::string contact = {};                      // a URL or mail address; part of the User-Agent
  absl::Duration page_time = absl::Seconds(30);  // of one page, its redirects included, its waits not
  absl::Duration host_delay = absl::Seconds(1);  // at least, between two requests to one host
  int max_redirects = 5;
  int64_t max_page_bytes = int64_t{20} << 20;
  int64_t max_total_bytes = int64_t{1} << 30;  // over the network, of all pages
};

struct FetchedPage {
  std::string url;           // where it was found in the end
  std::string content_type;  // as the server said
  std::string body;
  absl::Time time;         // when it was fetched
  bool unchanged = false;  // an earlier copy, of which the server says that it still stands
};

// Thread-safe. What it is given outlives it.
class Fetcher {
 public:
  // Waits, and says whether to go on; false: the collection was stopped. Called by the threads that call Fetch.
  using Wait = std::function<bool(absl::Duration)>;

  Fetcher(const HttpClient& client, PageCache cache, const Clock& clock, Wait wait, FetchOptions options);

  // Errors beside those of HttpClient, by reason: ROBOTS_DISALLOWED, CRAWL_DELAY_TOO_LONG (PERMISSION_DENIED),
  // HTTP_404 and its like, TOO_MANY_REDIRECTS, REDIRECT_NOWHERE, CONTENT_TYPE (FAILED_PRECONDITION), TOTAL_TOO_LARGE
  // (RESOURCE_EXHAUSTED: what other threads may still fetch counts as fetched), CANCELLED; INVALID_ARGUMENT (field "url")
  // for what is no URL. `downloaded`: is given what came over the network for it, also where it fails.
  absl::StatusOr<FetchedPage> Fetch(std::string_view url, int64_t* downloaded = nullptr);

  // "Engram/0.1 (+https://example.org/crawler)"; robots.txt knows it as "engram".
  static std::string UserAgent(std::string_view contact);

 private:
  struct Host {
    absl::Mutex asking;                                                // held while it is asked
    absl::Time next_time ABSL_GUARDED_BY(asking) = absl::UnixEpoch();  // when it may be asked again
  };
  struct Origin {
    absl::Mutex reading;  // held while its rules are read; before `asking`
    std::optional<Robots> robots ABSL_GUARDED_BY(reading);
    absl::Time read ABSL_GUARDED_BY(reading);
  };
  // Of one page: the time that its requests may still take, and what came for it.
  struct Visit {
    absl::Duration left;
    int64_t downloaded = 0;
  };
  absl::StatusOr<HttpResponse> Ask(const Url& url, std::vector<std::string> headers, int64_t max_bytes, bool cut,
                                   absl::Duration least_delay, Visit& visit);
  absl::StatusOr<HttpResponse> AskPatiently(const Url& url, const std::vector<std::string>& headers,
                                            absl::Duration least_delay, Visit& visit);
  absl::StatusOr<Robots> RulesOf(const Url& url, Visit& visit);
  absl::StatusOr<Robots> ReadRobots(const Url& url, Visit& visit);
  absl::StatusOr<FetchedPage> Follow(Url url, Visit& visit);
  // Sets bytes of all that may be fetched aside for a request; 0: there are none.
  int64_t Reserve(int64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  void Settle(int64_t reserved, int64_t downloaded) ABSL_LOCKS_EXCLUDED(mutex_);
  Host& HostOf(const Url& url) ABSL_LOCKS_EXCLUDED(mutex_);
  Origin& OriginOf(const Url& url) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<FetchedPage> Page(const Url& url, HttpResponse response, const std::optional<CachedPage>& cached);

  const HttpClient& client_;
  const PageCache cache_;
  const Clock& clock_;
  const Wait wait_;
  const FetchOptions options_;
  absl::Mutex mutex_;
  std::map<std::string, std::unique_ptr<Host>> hosts_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::unique_ptr<Origin>> origins_ ABSL_GUARDED_BY(mutex_);
  int64_t spent_ ABSL_GUARDED_BY(mutex_) = 0;  // bytes: downloaded, or set aside
};

}  // namespace engram::web
