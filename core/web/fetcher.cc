#include "core/web/fetcher.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/build_info.h"
#include "core/base/log.h"
#include "core/web/page.h"

namespace engram::web {
namespace {

constexpr int kRobotsRedirects = 5;                      // RFC 9309, 2.3.1.2
constexpr absl::Duration kRobotsLife = absl::Hours(24);  // 2.4
constexpr absl::Duration kRobotsTime = absl::Seconds(20);
constexpr absl::Duration kMostPatience = absl::Seconds(120);  // with a Crawl-delay or a Retry-After
constexpr int kRetries = 2;

absl::Status Denied(const char* reason, std::string_view message) {
  return StatusWithReason(absl::StatusCode::kPermissionDenied, reason, message);
}
absl::Status Failed(std::string_view reason, std::string_view message) {
  return StatusWithReason(absl::StatusCode::kFailedPrecondition, reason, message);
}

bool IsRedirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// Seconds, or nothing that is understood: dates are answered with the usual pause.
absl::Duration RetryAfter(const std::string& header) {
  int64_t seconds = 0;
  return absl::SimpleAtoi(header, &seconds) && seconds >= 0 ? absl::Seconds(seconds) : absl::Seconds(5);
}

}  // namespace

Fetcher::Fetcher(const HttpClient& client, PageCache cache, const Clock& clock, Wait wait, FetchOptions options)
    : client_(client), cache_(std::move(cache)), clock_(clock), wait_(std::move(wait)), options_(std::move(options)) {}

std::string Fetcher::UserAgent(std::string_view contact) {
  return absl::StrCat("Engram/", AbslView(EngramVersion()), " (+", AbslView(contact), ")");
}

int64_t Fetcher::Reserve(int64_t bytes) {
  const absl::MutexLock lock(&mutex_);
  const int64_t reserved = std::clamp<int64_t>(options_.max_total_bytes - spent_, 0, bytes);
  spent_ += reserved;
  return reserved;
}

void Fetcher::Settle(int64_t reserved, int64_t downloaded) {
  const absl::MutexLock lock(&mutex_);
  spent_ += downloaded - reserved;
}

Fetcher::Host& Fetcher::HostOf(const Url& url) {
  const absl::MutexLock lock(&mutex_);
  std::unique_ptr<Host>& host = hosts_[url.host];
  if (host == nullptr) host = std::make_unique<Host>();
  return *host;
}

Fetcher::Origin& Fetcher::OriginOf(const Url& url) {
  const absl::MutexLock lock(&mutex_);
  std::unique_ptr<Origin>& origin = origins_[url.origin()];
  if (origin == nullptr) origin = std::make_unique<Origin>();
  return *origin;
}

absl::StatusOr<HttpResponse> Fetcher::Ask(const Url& url, std::vector<std::string> headers, int64_t max_bytes, bool cut,
                                          absl::Duration least_delay, Visit& visit) {
  Host& host = HostOf(url);
  const absl::MutexLock asking(&host.asking);
  const int64_t reserved = Reserve(max_bytes);
  if (reserved == 0) {
    return StatusWithReason(absl::StatusCode::kResourceExhausted, "TOTAL_TOO_LARGE",
                            "the collection has fetched as many bytes as it may; raise the limit, or ask for less");
  }
  if (const absl::Duration pause = host.next_time - clock_.Now(); pause > absl::ZeroDuration() && !wait_(pause)) {
    Settle(reserved, 0);
    return absl::CancelledError("the collection was stopped");
  }
  HttpRequest request;
  request.url = url;
  request.user_agent = UserAgent(options_.contact);
  request.headers = std::move(headers);
  request.timeout = visit.left;
  request.max_bytes = reserved;
  request.cut_at_max = cut;
  int64_t failed_bytes = 0;
  request.downloaded_bytes = &failed_bytes;
  const absl::Time start = clock_.Now();
  absl::StatusOr<HttpResponse> response = client_.Get(request);
  visit.left = std::max(visit.left - (clock_.Now() - start), absl::Milliseconds(1));
  host.next_time = clock_.Now() + std::max(options_.host_delay, least_delay);
  const int64_t downloaded = response.ok() ? response->downloaded_bytes : failed_bytes;
  Settle(reserved, downloaded);
  visit.downloaded += downloaded;
  return response;
}

absl::StatusOr<HttpResponse> Fetcher::AskPatiently(const Url& url, const std::vector<std::string>& headers,
                                                   absl::Duration least_delay, Visit& visit) {
  for (int attempt = 0;; ++attempt) {
    ENGRAM_ASSIGN_OR_RETURN(HttpResponse response,
                            Ask(url, headers, options_.max_page_bytes, /*cut=*/false, least_delay, visit));
    const bool busy = response.status == 429 || response.status == 503;
    const absl::Duration pause = RetryAfter(response.retry_after);
    if (!busy || attempt == kRetries || pause > kMostPatience) return response;
    if (!wait_(pause)) return absl::CancelledError("the collection was stopped");
  }
}

absl::StatusOr<Robots> Fetcher::ReadRobots(const Url& url, Visit& visit) {
  ENGRAM_ASSIGN_OR_RETURN(Url at, ResolveUrl(url, "/robots.txt"));
  Visit own{kRobotsTime};
  const auto counted = absl::MakeCleanup([&] { visit.downloaded += own.downloaded; });
  for (int hop = 0; hop <= kRobotsRedirects; ++hop) {
    const absl::StatusOr<HttpResponse> response =
        Ask(at, {}, static_cast<int64_t>(Robots::kMaxBytes), /*cut=*/true, absl::ZeroDuration(), own);
    if (absl::IsCancelled(response.status()) || absl::IsPermissionDenied(response.status())) return response.status();
    if (!response.ok() || response->status >= 500) return Robots::DisallowAll();  // 2.3.1.4: unreachable
    if (response->status >= 200 && response->status < 300) return Robots::Parse(response->body, "engram");
    if (!IsRedirect(response->status)) return Robots::AllowAll();  // 2.3.1.3: unavailable
    const absl::StatusOr<Url> next = ResolveUrl(at, response->location);
    if (!next.ok()) return Robots::AllowAll();
    at = *next;
  }
  return Robots::AllowAll();  // 2.3.1.2: too many redirects are as none at all
}

absl::StatusOr<Robots> Fetcher::RulesOf(const Url& url, Visit& visit) {
  Origin& origin = OriginOf(url);
  const absl::MutexLock reading(&origin.reading);
  if (origin.robots && clock_.Now() - origin.read < kRobotsLife) return *origin.robots;
  ENGRAM_ASSIGN_OR_RETURN(origin.robots, ReadRobots(url, visit));
  origin.read = clock_.Now();
  return *origin.robots;
}

absl::StatusOr<FetchedPage> Fetcher::Page(const Url& url, HttpResponse response,
                                          const std::optional<CachedPage>& cached) {
  FetchedPage page;
  page.url = url.text;
  page.time = clock_.Now();
  if (response.status == 304 && cached) {
    page.content_type = cached->content_type;
    page.body = cached->body;
    page.unchanged = true;
    return page;
  }
  if (response.status != 200) {
    return Failed(absl::StrCat("HTTP_", response.status),
                  absl::StrCat("its server answers with status ", response.status));
  }
  const std::string type = MediaType(response.content_type);
  if (!IsTextType(type)) {
    return Failed("CONTENT_TYPE",
                  absl::StrCat("it is ", type.empty() ? "of no stated type" : absl::CHexEscape(type.substr(0, 100)),
                               "; only text/html, application/xhtml+xml and text/plain are read"));
  }
  const absl::Status kept =
      cache_.Keep({url.text, response.content_type, response.etag, response.last_modified, response.body});
  // A full disk is no reason to lose a page that is here.
  if (!kept.ok()) LogWarning("a page could not be kept for later", {{"message", std::string(kept.message())}});
  page.content_type = std::move(response.content_type);
  page.body = std::move(response.body);
  return page;
}

absl::StatusOr<FetchedPage> Fetcher::Fetch(std::string_view text, int64_t* downloaded) {
  ENGRAM_ASSIGN_OR_RETURN(Url url, ParseUrl(text));
  Visit visit{options_.page_time};
  absl::StatusOr<FetchedPage> page = Follow(std::move(url), visit);
  if (downloaded != nullptr) *downloaded = visit.downloaded;
  return page;
}

absl::StatusOr<FetchedPage> Fetcher::Follow(Url url, Visit& visit) {
  for (int hop = 0; hop <= options_.max_redirects; ++hop) {
    ENGRAM_ASSIGN_OR_RETURN(const Robots robots, RulesOf(url, visit));
    if (!robots.Allows(url.target))
      return Denied("ROBOTS_DISALLOWED", "its site's robots.txt does not allow it, or cannot be read");
    const absl::Duration delay = robots.delay().value_or(absl::ZeroDuration());
    if (delay > kMostPatience) {
      return Denied("CRAWL_DELAY_TOO_LONG", absl::StrCat("its site's robots.txt asks for more than ",
                                                         absl::FormatDuration(kMostPatience), " between two requests"));
    }
    const std::optional<CachedPage> cached = cache_.Find(url.text);
    std::vector<std::string> conditions;
    if (cached && !cached->etag.empty()) conditions.push_back(absl::StrCat("If-None-Match: ", cached->etag));
    if (cached && !cached->last_modified.empty())
      conditions.push_back(absl::StrCat("If-Modified-Since: ", cached->last_modified));
    ENGRAM_ASSIGN_OR_RETURN(HttpResponse response, AskPatiently(url, conditions, delay, visit));
    if (!IsRedirect(response.status)) return Page(url, std::move(response), cached);
    absl::StatusOr<Url> next = ResolveUrl(url, response.location);
    if (!next.ok())
      return Failed("REDIRECT_NOWHERE",
                    absl::StrCat("it redirects to an address that is not taken (", next.status().message(), ")"));
    url = *std::move(next);
  }
  return Failed("TOO_MANY_REDIRECTS", absl::StrCat("it redirects more than ", options_.max_redirects, " times"));
}

}  // namespace engram::web
