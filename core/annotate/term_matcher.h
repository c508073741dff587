#pragma once

// Terms of a list found in texts: where an annotator would mark them. What is found are places in the text as it is;
// the text is never changed.
//
//   * A term counts where it begins and ends at word borders (word_borders.h), in any case of its letters or, if it says
//     so, only as it is written.
//   * Of places that overlap the longest stands (bytes of the text; of equally long ones the first), as spaCy's
//     filter_spans chooses; the others are reported as overlapped.
//   * Terms that stand at one and the same place are one match with several terms: whoever uses it must choose.
//
// Example:
//   ASSIGN_OR_RETURN(TermMatcher matcher, TermMatcher::Build({{"Google", {"ORG"}}, {"Google Brain", {"ORG"}}}));
//   matcher.Match("at Google Brain")->matches;   // bytes 3 to 15, term 1; overlapped: bytes 3 to 9, term 0

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/annotate/byte_automaton.h"
#include "core/base/status.h"

namespace engram::annotate {

struct Term {
  std::string text;                 // UTF-8, not blank, at most kMaxTermBytes
  std::vector<std::string> labels;  // at least one
  bool case_sensitive = false;
};

struct TermMatch {
  int64_t start_byte = 0, end_byte = 0;  // UTF-8 bytes of the text, end exclusive
  int64_t start = 0, end = 0;            // code points
  std::vector<int32_t> terms;            // indices into the list, ascending
  friend bool operator==(const TermMatch&, const TermMatch&) = default;
};

struct TermMatches {
  std::vector<TermMatch> matches;     // in the order of the text; no two overlap
  std::vector<TermMatch> overlapped;  // by start, then end: what a longer match covers in part or whole
};

// Immutable once built; thread-safe.
class TermMatcher {
 public:
  static constexpr size_t kMaxTermBytes = 1000, kMaxLabelBytes = 128;
  static constexpr size_t kMaxPlaces = size_t{1} << 26;

  // INVALID_ARGUMENT (field "terms[i].text" or "terms[i].labels") for a term that is blank, too long or no UTF-8, that
  // begins or ends with white space, or has no label, an empty or a too long one; also for no terms at all. RESOURCE_EXHAUSTED for
  // more than ByteAutomaton takes.
  static absl::StatusOr<TermMatcher> Build(std::vector<Term> terms);

  // INVALID_ARGUMENT (field "text") if the text is not UTF-8; RESOURCE_EXHAUSTED with reason TOO_MANY_MATCHES if there
  // are more than `max_places` places, overlapped ones included and each counted once for every term that stands there:
  // terms that lie in each other make many of a short text.
  // Linear in the text plus n log n of what is found.
  absl::StatusOr<TermMatches> Match(std::string_view text, size_t max_places = kMaxPlaces) const;

  const std::vector<Term>& terms() const { return terms_; }
  // About what it holds in memory, in bytes.
  size_t bytes() const { return bytes_; }

 private:
  // The terms that fold to one key.
  struct KeyTerms {
    size_t bytes = 0;                 // of the key
    std::vector<int32_t> any_case;    // ascending
    std::vector<int32_t> as_written;  // by their texts, then ascending
  };
  TermMatcher(std::vector<Term> terms, std::vector<KeyTerms> keys, ByteAutomaton automaton);
  // Those of a key's terms that want to be written so: as `as_written` is sorted, a range of it.
  std::span<const int32_t> Written(const KeyTerms& key, std::string_view text) const;

  std::vector<Term> terms_;
  std::vector<KeyTerms> keys_;
  ByteAutomaton automaton_;
  size_t bytes_ = 0;
};

}  // namespace engram::annotate
