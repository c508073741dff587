// Collection of pages: leaves a data set of their texts.

#include <cmath>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/web/address_rules.h"
#include "core/web/page.h"
#include "core/web/url.h"
#include "engram/v1/collection.pb.h"
#include "server/jobs/job_kind.h"
#include "server/rpc/names.h"

namespace engram::server {
namespace {

using engram::v1::CollectPagesRequest;
using engram::worker::v1::CollectWork;
using engram::worker::v1::RunSpec;

constexpr int kMaxPages = 10'000;
constexpr int64_t kMaxDocumentBytes = 16 << 20, kMaxPageBytes = 32 << 20, kMaxTotalBytes = int64_t{16} << 30;
constexpr size_t kMaxContactBytes = 256;
// Of what unfinished jobs are to do, documents and URLs included: it is kept in memory and in the database.
constexpr size_t kMaxQueuedBytes = size_t{128} << 20;

// It goes into a header of every request.
absl::Status CheckContact(const std::string& contact) {
  bool printable = true;
  for (const char c : contact) printable = printable && c > ' ' && c < '\x7f' && c != '(' && c != ')';
  const bool reachable =
      absl::StartsWith(contact, "http://") || absl::StartsWith(contact, "https://") || absl::StrContains(contact, "@");
  if (printable && reachable && contact.size() <= kMaxContactBytes) return absl::OkStatus();
  return InvalidField("contact",
                      "must be the address of a web page or a mail address by which the owner of a site can reach you, "
                      "such as https://example.org/crawler");
}

// The media type that a document has by its name; empty if the name does not say.
std::string TypeByName(const std::string& name) {
  const size_t dot = name.rfind('.');
  const std::string ending = dot == std::string::npos ? "" : name.substr(dot + 1);
  for (const char* html : {"html", "htm", "xhtml", "xht"}) {
    if (absl::EqualsIgnoreCase(ending, html)) return "text/html";
  }
  for (const char* plain : {"txt", "text", "md"}) {
    if (absl::EqualsIgnoreCase(ending, plain)) return "text/plain";
  }
  return "";
}

absl::Status AddDocuments(const CollectPagesRequest& request, CollectWork& work) {
  if (request.documents_size() > kMaxPages)
    return InvalidField("documents", absl::StrCat("are ", request.documents_size(), "; at most ", kMaxPages));
  int64_t bytes = 0;
  std::set<std::string> names;
  for (int i = 0; i < request.documents_size(); ++i) {
    const engram::v1::PageDocument& from = request.documents(i);
    const std::string field = absl::StrCat("documents[", i, "]");
    if (from.name().empty() || from.name().size() > web::kMaxUrlBytes)
      return InvalidField(field + ".name", absl::StrCat("must have 1 to ", web::kMaxUrlBytes, " bytes"));
    if (!names.insert(from.name()).second) return InvalidField(field + ".name", "is the name of a document before it");
    bytes += static_cast<int64_t>(from.content().size());
    CollectWork::Document& to = *work.add_documents();
    to.set_name(from.name());
    to.set_content(from.content());
    to.set_content_type(from.content_type().empty() ? TypeByName(from.name()) : from.content_type());
    if (web::IsTextType(web::MediaType(to.content_type()))) continue;
    return InvalidField(field + ".content_type",
                        from.content_type().empty()
                            ? "is empty, and the name ends in none of .html, .htm, .xhtml, .txt, .md; say what it is"
                            : "must be text/html, application/xhtml+xml or text/plain");
  }
  if (bytes <= kMaxDocumentBytes) return absl::OkStatus();
  return InvalidField("documents", absl::StrCat("have ", bytes, " bytes together; one collection takes ",
                                                kMaxDocumentBytes, ": make several"));
}

absl::Status AddUrls(const CollectPagesRequest& request, CollectWork& work) {
  if (request.urls_size() > kMaxPages)
    return InvalidField("urls", absl::StrCat("are ", request.urls_size(), "; at most ", kMaxPages, ": make several"));
  if (request.urls().empty()) return absl::OkStatus();
  ENGRAM_RETURN_IF_ERROR(CheckContact(request.contact()));
  for (int i = 0; i < request.urls_size(); ++i) {
    if (const absl::Status url = web::ParseUrl(request.urls(i)).status(); !url.ok())
      return InvalidField(absl::StrCat("urls[", i, "]"),
                          std::string(url.message().substr(url.message().find(' ') + 1)));
    work.add_urls(request.urls(i));
  }
  work.set_contact(request.contact());
  return absl::OkStatus();
}

// `value`, or the default where it is 0; INVALID_ARGUMENT outside of [low, high].
absl::StatusOr<int64_t> Bound(const char* field, int64_t value, int64_t unset, int64_t high) {
  if (value == 0) return unset;
  if (value >= 1 && value <= high) return value;
  return InvalidField(field, absl::StrCat("must be 1 to ", high, ", or 0 for ", unset));
}

absl::Status AddLimits(const CollectPagesRequest& request, CollectWork& work) {
  const double seconds = request.page_seconds() == 0 ? 30 : request.page_seconds();
  if (!(seconds >= 1 && seconds <= 600)) return InvalidField("page_seconds", "must be 1 to 600, or 0 for 30");
  const double delay = request.has_delay_seconds() ? request.delay_seconds() : 1;
  if (!(delay >= 0 && delay <= 120)) return InvalidField("delay_seconds", "must be 0 to 120");
  const int32_t redirects = request.has_max_redirects() ? request.max_redirects() : 5;
  if (redirects < 0 || redirects > 20) return InvalidField("max_redirects", "must be 0 to 20");
  ENGRAM_ASSIGN_OR_RETURN(const int64_t page,
                          Bound("max_page_bytes", request.max_page_bytes(), int64_t{20} << 20, kMaxPageBytes));
  ENGRAM_ASSIGN_OR_RETURN(const int64_t all,
                          Bound("max_total_bytes", request.max_total_bytes(), int64_t{1} << 30, kMaxTotalBytes));
  work.set_page_seconds(seconds);
  work.set_delay_seconds(delay);
  work.set_max_redirects(redirects);
  work.set_max_page_bytes(page);
  work.set_max_total_bytes(all);
  return absl::OkStatus();
}

// RESOURCE_EXHAUSTED (QUEUE_FULL) if this job and those that are not finished are too much to keep.
absl::Status CheckQueue(const PlanContext& context, size_t bytes) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<jobs::JobRecord> unfinished, context.store.UnfinishedJobs());
  for (const jobs::JobRecord& job : unfinished) bytes += job.specification.size();
  if (bytes <= kMaxQueuedBytes) return absl::OkStatus();
  return StatusWithReason(absl::StatusCode::kResourceExhausted, "QUEUE_FULL",
                          absl::StrCat("the documents and addresses of unfinished jobs would be more than ",
                                       kMaxQueuedBytes >> 20, " MiB; try again once some have ended"));
}

class CollectKind final : public JobKind {
 public:
  CollectKind() : JobKind({RunSpec::kCollect, engram::v1::JOB_KIND_COLLECT_PAGES, "collect", JobOutput::kDataset}) {}

  const google::protobuf::Descriptor* request_type() const override { return CollectPagesRequest::descriptor(); }

  absl::StatusOr<PlannedJob> Plan(const PlanContext& context, const google::protobuf::Message& message) const override {
    const auto& request = static_cast<const CollectPagesRequest&>(message);
    PlannedJob job;
    CollectWork& work = *job.spec.mutable_collect();
    ENGRAM_ASSIGN_OR_RETURN(*work.mutable_dataset(), ParseName("dataset", "datasets", request.dataset()));
    if (context.store.GetDataset(work.dataset()).ok()) {
      return StatusWithReason(
          absl::StatusCode::kAlreadyExists, "DATASET_EXISTS",
          absl::StrCat("data set \"", work.dataset(), "\" exists; choose another name, or delete it first"));
    }
    if (request.urls().empty() && request.documents().empty())
      return InvalidField("urls", "are none, and there is no document either; give at least one");
    ENGRAM_RETURN_IF_ERROR(CheckPriority(request.priority()));
    ENGRAM_RETURN_IF_ERROR(AddDocuments(request, work));
    ENGRAM_RETURN_IF_ERROR(AddUrls(request, work));
    ENGRAM_RETURN_IF_ERROR(AddLimits(request, work));
    for (const std::string& host : context.collection.allowed_hosts) work.add_allowed_hosts(host);
    work.set_max_cache_bytes(context.collection.max_cache_bytes);
    work.set_max_dataset_bytes(context.collection.max_dataset_bytes);
    ENGRAM_RETURN_IF_ERROR(CheckQueue(context, job.spec.ByteSizeLong()));
    job.record.priority = request.priority();
    Describe(work, job.description);
    return job;
  }

  void FillPaths(const DataPaths& paths, RunSpec& spec) const override {
    CollectWork& work = *spec.mutable_collect();
    work.set_cache_directory(work.max_cache_bytes() > 0 ? paths.page_cache() : "");
  }

  absl::StatusOr<WorkEstimate> Estimate(const PlanContext&, const PlannedJob& job) const override {
    WorkEstimate estimate;
    const CollectWork& work = job.spec.collect();
    estimate.counts.set_texts(work.documents_size() + work.urls_size());
    return estimate;
  }

  std::string MadeDataset(const RunSpec& spec) const override { return spec.collect().dataset(); }

 private:
  void Describe(const CollectWork& work, engram::v1::Job& description) const {
    description.set_kind(facts().shown_as);
    auto& options = *description.mutable_options();
    options["dataset"] = DatasetName(work.dataset());
    options["documents"] = absl::StrCat(work.documents_size());
    options["urls"] = absl::StrCat(work.urls_size());
    if (work.urls().empty()) return;
    options["contact"] = work.contact();
    options["page_seconds"] = absl::StrCat(work.page_seconds());
    options["delay_seconds"] = absl::StrCat(work.delay_seconds());
    options["max_redirects"] = absl::StrCat(work.max_redirects());
    options["max_page_bytes"] = absl::StrCat(work.max_page_bytes());
    options["max_total_bytes"] = absl::StrCat(work.max_total_bytes());
  }
};

const JobKindRegistration kRegistration(std::make_unique<CollectKind>());

}  // namespace
}  // namespace engram::server
