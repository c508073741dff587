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
  static constexpr size_t kMaxTermBytes = 1000;

  // INVALID_ARGUMENT (field "terms[i].text" or "terms[i].labels") for a term that is blank, too long or no UTF-8, that
  // begins or ends with white space, or has no label or an empty one; also for no terms at all. RESOURCE_EXHAUSTED for
  // more than ByteAutomaton takes.
  static absl::StatusOr<TermMatcher> Build(std::vector<Term> terms);

  // INVALID_ARGUMENT (field "text") if the text is not UTF-8. Linear in the text plus n log n of what is found.
  absl::StatusOr<TermMatches> Match(std::string_view text) const;

  const std::vector<Term>& terms() const { return terms_; }

 private:
  TermMatcher(std::vector<Term> terms, std::vector<std::vector<int32_t>> terms_of_key, std::vector<size_t> key_bytes,
              ByteAutomaton automaton)
      : terms_(std::move(terms)),
        terms_of_key_(std::move(terms_of_key)),
        key_bytes_(std::move(key_bytes)),
        automaton_(std::move(automaton)) {}

  std::vector<Term> terms_;
  std::vector<std::vector<int32_t>> terms_of_key_;  // terms that fold to each key
  std::vector<size_t> key_bytes_;
  ByteAutomaton automaton_;
};

}  // namespace engram::annotate
