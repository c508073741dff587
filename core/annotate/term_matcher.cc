#include "core/annotate/term_matcher.h"

#include <algorithm>
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
  }
  return absl::OkStatus();
}

struct Place {
  size_t start, end;
  int32_t key;
};

// Longest first, of equals the first: what stands. The rest is overlapped.
void ChooseLongest(std::vector<TermMatch> all, TermMatches& out) {
  std::sort(all.begin(), all.end(), [](const TermMatch& a, const TermMatch& b) {
    return std::tuple(b.end_byte - b.start_byte, a.start_byte) < std::tuple(a.end_byte - a.start_byte, b.start_byte);
  });
  std::map<int64_t, int64_t> taken;  // end -> start
  for (TermMatch& match : all) {
    const auto next = taken.upper_bound(match.start_byte);  // the first that ends behind this one's start
    if (next != taken.end() && next->second < match.end_byte) {
      out.overlapped.push_back(std::move(match));
    } else {
      taken.emplace(match.end_byte, match.start_byte);
      out.matches.push_back(std::move(match));
    }
  }
  const auto by_place = [](const TermMatch& a, const TermMatch& b) {
    return std::tuple(a.start_byte, a.end_byte) < std::tuple(b.start_byte, b.end_byte);
  };
  std::sort(out.matches.begin(), out.matches.end(), by_place);
  std::sort(out.overlapped.begin(), out.overlapped.end(), by_place);
}

// Bytes to code points, for all matches in one pass over the text.
void CountCharacters(std::string_view text, std::vector<TermMatch>& matches) {
  std::vector<std::pair<int64_t, int64_t*>> wanted;
  for (TermMatch& match : matches) {
    wanted.emplace_back(match.start_byte, &match.start);
    wanted.emplace_back(match.end_byte, &match.end);
  }
  std::sort(wanted.begin(), wanted.end());
  int64_t byte = 0, characters = 0;
  for (const auto& [at, count] : wanted) {
    characters += CountCodePoints(text.substr(static_cast<size_t>(byte), static_cast<size_t>(at - byte)));
    byte = at;
    *count = characters;
  }
}

}  // namespace

absl::StatusOr<TermMatcher> TermMatcher::Build(std::vector<Term> terms) {
  if (terms.empty()) return InvalidField("terms", "are none; give at least one");
  std::map<std::string, std::vector<int32_t>> folded;
  for (size_t i = 0; i < terms.size(); ++i) {
    ENGRAM_RETURN_IF_ERROR(CheckTerm(terms[i], i));
    folded[FoldedText(terms[i].text).bytes()].push_back(static_cast<int32_t>(i));
  }
  std::vector<std::string> keys;
  std::vector<std::vector<int32_t>> terms_of_key;
  std::vector<size_t> key_bytes;
  for (auto& [key, list] : folded) {
    keys.push_back(key);
    key_bytes.push_back(key.size());
    terms_of_key.push_back(std::move(list));
  }
  ENGRAM_ASSIGN_OR_RETURN(ByteAutomaton automaton, ByteAutomaton::Build(keys));
  return TermMatcher(std::move(terms), std::move(terms_of_key), std::move(key_bytes), std::move(automaton));
}

absl::StatusOr<TermMatches> TermMatcher::Match(std::string_view text) const {
  if (FindInvalidUtf8(text)) return InvalidField("text", "is not UTF-8; convert it");
  const FoldedText folded(text);
  std::vector<TermMatch> all;
  automaton_.Scan(folded.bytes(), [&](size_t folded_end, int32_t key) {
    const size_t folded_start = folded_end - key_bytes_[static_cast<size_t>(key)];
    const size_t start = folded.Original(folded_start), end = folded.Original(folded_end);
    if (!IsWordBorder(text, end) || !IsWordBorder(text, start)) return;
    TermMatch match;
    for (const int32_t term : terms_of_key_[static_cast<size_t>(key)]) {
      const Term& candidate = terms_[static_cast<size_t>(term)];
      if (!candidate.case_sensitive || candidate.text == text.substr(start, end - start)) match.terms.push_back(term);
    }
    if (match.terms.empty()) return;
    match.start_byte = static_cast<int64_t>(start);
    match.end_byte = static_cast<int64_t>(end);
    all.push_back(std::move(match));
  });
  CountCharacters(text, all);
  TermMatches out;
  ChooseLongest(std::move(all), out);
  return out;
}

}  // namespace engram::annotate
