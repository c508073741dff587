#include "server/inference/matcher_cache.h"

#include <iterator>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"

namespace engram::server {
namespace {

constexpr int64_t kMaxTermBytes = 16 << 20, kMaxTerms = 200'000;

// The first words of the list would do for a hash; a digest cannot be made to collide.
std::string Digest(const TermList& terms) {
  engram::v1::AnnotateTextsRequest list;
  *list.mutable_terms() = terms;
  return Sha256Hex(list.SerializeAsString());
}

}  // namespace

int64_t BytesOf(const TermList& terms) {
  int64_t bytes = 0;
  for (const engram::v1::Term& term : terms) bytes += static_cast<int64_t>(term.ByteSizeLong());
  return bytes;
}

absl::Status CheckTerms(const TermList& terms) {
  if (terms.size() > kMaxTerms) {
    return InvalidField("terms",
                        absl::StrCat("are ", terms.size(), "; one list holds at most ", kMaxTerms, ": split it"));
  }
  const int64_t bytes = BytesOf(terms);
  if (bytes <= kMaxTermBytes) return absl::OkStatus();
  return InvalidField("terms", absl::StrCat("have ", bytes, " bytes together, with their labels; one list takes ",
                                            kMaxTermBytes, ": split it"));
}

absl::StatusOr<std::shared_ptr<const annotate::TermMatcher>> MatcherCache::Get(const TermList& terms) {
  const std::string digest = Digest(terms);
  absl::MutexLock lock(&mutex_);
  for (auto kept = kept_.begin(); kept != kept_.end(); ++kept) {
    if (kept->first != digest) continue;
    kept_.splice(kept_.begin(), kept_, kept);
    return kept_.front().second;
  }
  std::vector<annotate::Term> list;
  for (const engram::v1::Term& term : terms)
    list.push_back({term.text(), {term.labels().begin(), term.labels().end()}, term.case_sensitive()});
  ENGRAM_ASSIGN_OR_RETURN(annotate::TermMatcher built, annotate::TermMatcher::Build(std::move(list)));
  auto matcher = std::make_shared<const annotate::TermMatcher>(std::move(built));
  if (matcher->bytes() > max_bytes_) return matcher;
  kept_.emplace_front(digest, matcher);
  size_t bytes = 0;
  for (auto kept = kept_.begin(); kept != kept_.end();) {
    bytes += kept->second->bytes();
    kept = bytes > max_bytes_ ? kept_.erase(kept) : std::next(kept);
  }
  return matcher;
}

}  // namespace engram::server
