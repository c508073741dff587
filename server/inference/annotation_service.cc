#include "server/inference/annotation_service.h"

#include <cstdint>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/rpc/api_error.h"
#include "server/rpc/unary.h"

namespace engram::server {
namespace {

using engram::v1::AnnotateTextsRequest;
using engram::v1::AnnotateTextsResponse;

constexpr int64_t kMaxTextBytes = 16 << 20;
// Of all texts of a call, each place counted once for every term that stands there.
constexpr size_t kMaxPlaces = 1'000'000;
constexpr size_t kMaxReplyBytes = size_t{128} << 20;

absl::Status CheckRequest(const AnnotateTextsRequest& request, int64_t max_texts) {
  if (request.texts().empty() || request.texts_size() > max_texts) {
    return InvalidField(
        "texts", absl::StrCat("are ", request.texts_size(), "; one call takes 1 to ", max_texts, ": send more calls"));
  }
  int64_t bytes = 0;
  for (const std::string& text : request.texts()) bytes += static_cast<int64_t>(text.size());
  if (bytes > kMaxTextBytes) {
    return InvalidField(
        "texts", absl::StrCat("have ", bytes, " bytes together; one call takes ", kMaxTextBytes, ": send more calls"));
  }
  return CheckTerms(request.terms());
}

// `bytes`: of the answer so far. RESOURCE_EXHAUSTED past kMaxReplyBytes: many long labels at many places.
absl::Status FillMatches(const std::vector<annotate::TermMatch>& matches, const std::vector<annotate::Term>& terms,
                         std::string_view text, google::protobuf::RepeatedPtrField<engram::v1::TermMatch>& out,
                         size_t& bytes) {
  for (const annotate::TermMatch& match : matches) {
    engram::v1::TermMatch& shown = *out.Add();
    shown.set_start_byte(match.start_byte);
    shown.set_end_byte(match.end_byte);
    shown.set_start(match.start);
    shown.set_end(match.end);
    shown.set_text(std::string(
        text.substr(static_cast<size_t>(match.start_byte), static_cast<size_t>(match.end_byte - match.start_byte))));
    std::set<std::string_view> labels;
    for (const int32_t term : match.terms) {
      const std::vector<std::string>& own = terms[static_cast<size_t>(term)].labels;
      labels.insert(own.begin(), own.end());
      shown.add_terms(term);
    }
    for (const std::string_view label : labels) shown.add_labels(std::string(label));
    bytes += shown.ByteSizeLong();
    if (bytes > kMaxReplyBytes) {
      return StatusWithReason(absl::StatusCode::kResourceExhausted, "TOO_MANY_MATCHES",
                              absl::StrCat("what was found takes more than ", kMaxReplyBytes >> 20,
                                           " MiB, which is what one answer holds; give fewer texts, or shorter ones"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status AnnotateTexts(const AnnotateTextsRequest& request, int64_t max_texts, MatcherCache& matchers,
                           AnnotateTextsResponse& response) {
  ENGRAM_RETURN_IF_ERROR(CheckRequest(request, max_texts));
  ENGRAM_ASSIGN_OR_RETURN(const std::shared_ptr<const annotate::TermMatcher> matcher, matchers.Get(request.terms()));
  size_t left = kMaxPlaces, bytes = 0;
  for (const std::string& text : request.texts()) {
    engram::v1::TextAnnotation& result = *response.add_results();
    const absl::StatusOr<annotate::TermMatches> found = matcher->Match(text, left);
    if (absl::IsResourceExhausted(found.status())) return found.status();
    if (!found.ok()) {
      *result.mutable_error() = ToError(found.status());
      continue;
    }
    for (const auto* places : {&found->matches, &found->overlapped}) {
      for (const annotate::TermMatch& match : *places) left -= match.terms.size();
    }
    ENGRAM_RETURN_IF_ERROR(FillMatches(found->matches, matcher->terms(), text, *result.mutable_matches(), bytes));
    ENGRAM_RETURN_IF_ERROR(FillMatches(found->overlapped, matcher->terms(), text, *result.mutable_overlapped(), bytes));
  }
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* AnnotationService::AnnotateTexts(grpc::CallbackServerContext* context,
                                                           const AnnotateTextsRequest* request,
                                                           AnnotateTextsResponse* response) {
  return Answer(
      environment_, context, response, "AnnotateTexts",
      [this, request, response] { return server::AnnotateTexts(*request, max_texts_, matchers_, *response); },
      WorkPool::Length::kLong);
}

}  // namespace engram::server
