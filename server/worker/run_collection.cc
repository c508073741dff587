// Collection: fetches and reads pages, of several hosts at once, and makes a data set of their texts.

#include <algorithm>
#include <atomic>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/utf8.h"
#include "core/web/fetcher.h"
#include "core/web/page.h"
#include "server/rpc/api_error.h"
#include "server/worker/page_crawl.h"
#include "server/worker/page_journal.h"
#include "server/worker/run.h"

namespace engram::worker {
namespace {

using engram::v1::Page;
using engram::worker::v1::CollectWork;

// What a server sends may be any bytes.
std::string Printable(const std::string& bytes) { return FindInvalidUtf8(bytes) ? absl::CHexEscape(bytes) : bytes; }

void SetText(web::PageText text, Page& page) {
  page.set_title(std::move(text.title));
  page.set_language(Printable(text.language));
  page.set_text(std::move(text.text));
  page.set_charset(std::move(text.charset));
  page.set_replaced_characters(text.replaced);
  for (const web::Block& block : text.blocks) {
    engram::v1::TextBlock& shown = *page.add_blocks();
    shown.set_kind(static_cast<engram::v1::TextBlockKind>(block.kind));
    shown.set_start_byte(block.start);
    shown.set_end_byte(block.end);
  }
}

// Reads the bytes; an error becomes the page's.
void Read(std::string_view bytes, const std::string& content_type, absl::Time time, Page& page) {
  page.set_content_type(Printable(content_type));
  page.mutable_fetch_time()->set_seconds(absl::ToUnixSeconds(time));
  absl::StatusOr<web::PageText> text = web::ReadPage(bytes, content_type);
  if (text.ok()) {
    SetText(*std::move(text), page);
  } else {
    *page.mutable_error() = server::ToError(text.status());
  }
}

Page ReadDocument(const CollectWork::Document& document) {
  Page page;
  page.set_source(document.name());
  page.set_url(document.name());
  Read(document.content(), document.content_type(), Clock::Real().Now(), page);
  return page;
}

// CANCELLED if the run is to stop; everything else is the page's own matter.
absl::StatusOr<Page> FetchPage(const std::string& address, web::Fetcher& fetcher) {
  Page page;
  page.set_source(address);
  int64_t downloaded = 0;
  const absl::StatusOr<web::FetchedPage> fetched = fetcher.Fetch(address, &downloaded);
  if (absl::IsCancelled(fetched.status())) return fetched.status();
  page.set_downloaded_bytes(downloaded);
  if (fetched.ok()) {
    page.set_url(fetched->url);
    page.set_unchanged(fetched->unchanged);
    Read(fetched->body, fetched->content_type, fetched->time, page);
  } else {
    page.mutable_fetch_time()->set_seconds(absl::ToUnixSeconds(Clock::Real().Now()));
    *page.mutable_error() = server::ToError(fetched.status());
  }
  return page;
}

// What a collection reads: documents that the client sent, then addresses.
struct Sources {
  explicit Sources(const CollectWork& from) : work(from), documents(static_cast<size_t>(from.documents_size())) {
    hosts.resize(documents);
    for (const std::string& address : work.urls()) {
      const absl::StatusOr<web::Url> url = web::ParseUrl(address);
      const auto& [normalized, earlier] = *addresses.try_emplace(url.ok() ? url->text : address, hosts.size()).first;
      // An address that stood there before is not asked for again.
      hosts.push_back(url.ok() && earlier == hosts.size() ? url->host : "");
      first.push_back({normalized, earlier});
    }
  }
  const std::string& Address(size_t page) const { return work.urls(static_cast<int>(page - documents)); }
  absl::StatusOr<Page> Get(size_t page, web::Fetcher& fetcher) const {
    if (page < documents) return ReadDocument(work.documents(static_cast<int>(page)));
    const auto& [normalized, earlier] = first[page - documents];
    if (earlier == page) return FetchPage(Address(page), fetcher);
    Page duplicate;
    duplicate.set_source(Address(page));
    duplicate.set_url(normalized);
    duplicate.set_duplicate_of(Address(earlier));
    return duplicate;
  }

  const CollectWork& work;
  const size_t documents;
  std::vector<std::string> hosts;                     // of each page; empty: none is asked
  std::map<std::string, size_t> addresses;            // the first page of each
  std::vector<std::pair<std::string, size_t>> first;  // of each address: normalized, and its first page
};

web::FetchOptions OptionsOf(const CollectWork& work, const PageJournal& journal) {
  web::FetchOptions options;
  options.contact = work.contact();
  options.page_time = absl::Seconds(work.page_seconds());
  options.host_delay = absl::Seconds(work.delay_seconds());
  options.max_redirects = work.max_redirects();
  options.max_page_bytes = work.max_page_bytes();
  options.max_total_bytes = work.max_total_bytes() - journal.counts().downloaded_bytes();
  return options;
}

// A data set has at least one row.
absl::Status CheckSomething(const engram::v1::CollectedPages& counts, int64_t asked) {
  if (counts.pages() > 0) return absl::OkStatus();
  constexpr int kShown = 3;
  std::string why;
  for (int i = 0; i < std::min(kShown, counts.failures_size()); ++i)
    absl::StrAppend(&why, "; ", counts.failures(i).source().substr(0, 200), ": ", counts.failures(i).error().message());
  return StatusWithReason(absl::StatusCode::kFailedPrecondition, "NO_PAGES",
                          absl::StrCat("none of the ", asked, " pages could be read", why));
}

}  // namespace

RunResult RunCollection(RunContext& context) {
  const CollectWork& work = context.spec.collect();
  ENGRAM_ASSIGN_OR_RETURN(PageJournal journal,
                          PageJournal::Open(context.directory + "/collected.jsonl", work.max_dataset_bytes()));
  ENGRAM_ASSIGN_OR_RETURN(const web::AllowedHosts allowed,
                          web::AllowedHosts::Parse({work.allowed_hosts().begin(), work.allowed_hosts().end()}));
  std::atomic<bool> over = false;  // what is still under way is not needed any more
  const auto stopping = [&] { return over.load() || context.stopping(); };
  const web::CurlClient client(allowed, stopping);
  const auto wait = [&](absl::Duration pause) {
    constexpr absl::Duration kLook = absl::Milliseconds(100);
    const absl::Time end = Clock::Steady().Now() + pause;
    for (absl::Time now = Clock::Steady().Now(); now < end && !stopping(); now = Clock::Steady().Now())
      absl::SleepFor(std::min(kLook, end - now));
    return !stopping();
  };
  const web::PageCache cache(work.cache_directory());
  web::Fetcher fetcher(client, cache, Clock::Real(), wait, OptionsOf(work, journal));
  const Sources sources(work);
  const auto total = static_cast<int64_t>(sources.hosts.size());
  {
    // What an earlier run of the job has fetched is not asked for again.
    PageCrawl crawl(sources.hosts, static_cast<size_t>(journal.size()),
                    [&](size_t page) { return sources.Get(page, fetcher); });
    const auto end = absl::MakeCleanup([&] { over = true; });
    while (journal.size() < total) {
      engram::v1::JobProgress progress;
      progress.set_phase("collecting");
      progress.set_step(journal.size());
      progress.set_total_steps(total);
      context.Report(std::move(progress));
      if (context.stopping()) return std::nullopt;
      absl::StatusOr<Page> page = crawl.Next();
      if (absl::IsCancelled(page.status()) && context.stopping()) return std::nullopt;
      ENGRAM_RETURN_IF_ERROR(page.status());
      ENGRAM_RETURN_IF_ERROR(journal.Add(*std::move(page)));
    }
  }
  context.Phase("saving");
  ENGRAM_RETURN_IF_ERROR(CheckSomething(journal.counts(), total));
  ENGRAM_RETURN_IF_ERROR(journal.Finish(context.output()));
  if (const absl::Status trimmed = cache.Trim(work.max_cache_bytes()); !trimmed.ok())
    LogWarning("old copies of pages could not be removed", {{"message", std::string(trimmed.message())}});
  engram::v1::JobResult result;
  *result.mutable_collected() = journal.counts();
  return result;
}

}  // namespace engram::worker
