#include "core/annotate/term_matcher.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/annotate/folding.h"
#include "core/annotate/word_borders.h"
#include "core/base/utf8.h"

namespace engram::annotate {
namespace {

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

absl::Status CheckTerm(const Term& term, size_t index) {
  const auto field = [index](const char* name) { return absl::StrCat("terms[", index, "].", name); };
  if (term.text.find_first_not_of(" \t\n\v\f\r") == std::string::npos)
    return InvalidField(field("text"), "is blank; leave it out");
  if (term.text.size() > TermMatcher::kMaxTermBytes) {
    return InvalidField(field("text"), absl::StrCat("has ", term.text.size(), " bytes; a term has at most ",
                                                    TermMatcher::kMaxTermBytes));
  }
  if (FindInvalidUtf8(term.text)) return InvalidField(field("text"), "is not UTF-8; convert it");
  if (IsSpace(term.text.front()) || IsSpace(term.text.back()))
    return InvalidField(field("text"), "begins or ends with white space; take it away");
  if (term.labels.empty()) return InvalidField(field("labels"), "has none; give each term at least one label");
  for (const std::string& label : term.labels) {
    if (label.empty()) return InvalidField(field("labels"), "holds an empty label; name it or leave it out");
    if (label.size() > TermMatcher::kMaxLabelBytes || FindInvalidUtf8(label)) {
      return InvalidField(field("labels"), absl::StrCat("holds a label that is no UTF-8 or longer than ",
                                                        TermMatcher::kMaxLabelBytes, " bytes; shorten it"));
    }
  }
  return absl::OkStatus();
}

struct Place {
  size_t start, end;  // bytes of the text
  int32_t key;
  bool overlapped = false;
};

// Marks the places of [first, last), which overlap each other in a chain, that give way: the longest stands, of equally
// long ones the first.
void ChooseLongest(Place* first, Place* last) {
  if (last - first == 1) return;
  std::vector<Place*> order;
  for (Place* place = first; place != last; ++place) order.push_back(place);
  std::stable_sort(order.begin(), order.end(),
                   [](const Place* a, const Place* b) { return a->end - a->start > b->end - b->start; });
  std::map<size_t, size_t> taken;  // end -> start
  for (Place* place : order) {
    const auto next = taken.upper_bound(place->start);  // the first that ends behind this one's start
    place->overlapped = next != taken.end() && next->second < place->end;
    if (!place->overlapped) taken.emplace(place->end, place->start);
  }
}

void ChooseLongest(std::vector<Place>& places) {
  std::sort(places.begin(), places.end(),
            [](const Place& a, const Place& b) { return std::tuple(a.start, a.end) < std::tuple(b.start, b.end); });
  for (size_t first = 0; first < places.size();) {
    size_t last = first, end = places[first].end;
    for (++last; last < places.size() && places[last].start < end; ++last) end = std::max(end, places[last].end);
    ChooseLongest(&places[first], &places[first] + (last - first));
    first = last;
  }
}

// Bytes to code points, places ascending, in one pass over the text: the next start is not before this one.
class CharacterCounter {
 public:
  CharacterCounter(std::string_view text, bool ascii) : text_(text), ascii_(ascii) {}
  int64_t AtStart(size_t byte) {
    if (ascii_) return static_cast<int64_t>(byte);
    characters_ += CountCodePoints(text_.substr(byte_, byte - byte_));
    byte_ = byte;
    return characters_;
  }
  int64_t AtEnd(size_t byte) const {
    return ascii_ ? static_cast<int64_t>(byte) : characters_ + CountCodePoints(text_.substr(byte_, byte - byte_));
  }

 private:
  const std::string_view text_;
  const bool ascii_;
  size_t byte_ = 0;
  int64_t characters_ = 0;
};

}  // namespace

absl::StatusOr<TermMatcher> TermMatcher::Build(std::vector<Term> terms) {
  if (terms.empty()) return InvalidField("terms", "are none; give at least one");
  std::map<std::string, std::vector<int32_t>> folded;
  for (size_t i = 0; i < terms.size(); ++i) {
    ENGRAM_RETURN_IF_ERROR(CheckTerm(terms[i], i));
    folded[FoldedText(terms[i].text).bytes()].push_back(static_cast<int32_t>(i));
  }
  std::vector<std::string> keys;
  std::vector<KeyTerms> key_terms;
  for (const auto& [key, list] : folded) {
    keys.push_back(key);
    KeyTerms& own = key_terms.emplace_back();
    own.bytes = key.size();
    for (const int32_t term : list)
      (terms[static_cast<size_t>(term)].case_sensitive ? own.as_written : own.any_case).push_back(term);
    std::stable_sort(own.as_written.begin(), own.as_written.end(), [&](int32_t a, int32_t b) {
      return terms[static_cast<size_t>(a)].text < terms[static_cast<size_t>(b)].text;
    });
  }
  ENGRAM_ASSIGN_OR_RETURN(ByteAutomaton automaton, ByteAutomaton::Build(keys));
  return TermMatcher(std::move(terms), std::move(key_terms), std::move(automaton));
}

TermMatcher::TermMatcher(std::vector<Term> terms, std::vector<KeyTerms> keys, ByteAutomaton automaton)
    : terms_(std::move(terms)), keys_(std::move(keys)), automaton_(std::move(automaton)) {
  bytes_ = automaton_.bytes() + keys_.size() * sizeof(KeyTerms);
  for (const Term& term : terms_) {
    bytes_ += sizeof(Term) + sizeof(int32_t) + term.text.size();
    for (const std::string& label : term.labels) bytes_ += sizeof(std::string) + label.size();
  }
}

std::span<const int32_t> TermMatcher::Written(const KeyTerms& key, std::string_view text) const {
  const auto text_of = [this](int32_t term) -> std::string_view { return terms_[static_cast<size_t>(term)].text; };
  const auto first = std::lower_bound(key.as_written.begin(), key.as_written.end(), text,
                                      [&](int32_t term, std::string_view wanted) { return text_of(term) < wanted; });
  const auto last = std::upper_bound(first, key.as_written.end(), text,
                                     [&](std::string_view wanted, int32_t term) { return wanted < text_of(term); });
  return {first, last};
}

absl::StatusOr<TermMatches> TermMatcher::Match(std::string_view text, size_t max_places) const {
  const FoldedText folded(text);
  if (!folded.valid()) return InvalidField("text", "is not UTF-8; convert it");
  std::vector<Place> places;
  size_t counted = 0;
  automaton_.Scan(folded.bytes(), [&](size_t folded_end, int32_t key) {
    const KeyTerms& terms = keys_[static_cast<size_t>(key)];
    const size_t start = folded.Original(folded_end - terms.bytes);
    const size_t end = folded.Original(folded_end);
    if (!IsWordBorder(text, end) || !IsWordBorder(text, start)) return true;
    size_t fitting = terms.any_case.size();
    if (!terms.as_written.empty()) fitting += Written(terms, text.substr(start, end - start)).size();
    if (fitting > 0) places.push_back({start, end, key});
    counted += fitting;
    return counted <= max_places;
  });
  if (counted > max_places) {
    return StatusWithReason(absl::StatusCode::kResourceExhausted, "TOO_MANY_MATCHES",
                            absl::StrCat("terms stand at more than ", max_places,
                                         " places, which is what is taken at once; give fewer texts, or shorter ones"));
  }
  ChooseLongest(places);
  TermMatches out;
  CharacterCounter characters(text, folded.ascii());
  for (const Place& place : places) {
    TermMatch& match = (place.overlapped ? out.overlapped : out.matches).emplace_back();
    match.start_byte = static_cast<int64_t>(place.start);
    match.end_byte = static_cast<int64_t>(place.end);
    match.start = characters.AtStart(place.start);
    match.end = characters.AtEnd(place.end);
    const KeyTerms& terms = keys_[static_cast<size_t>(place.key)];
    const std::span<const int32_t> written = Written(terms, text.substr(place.start, place.end - place.start));
    std::merge(terms.any_case.begin(), terms.any_case.end(), written.begin(), written.end(),
               std::back_inserter(match.terms));
  }
  return out;
}

}  // namespace engram::annotate
