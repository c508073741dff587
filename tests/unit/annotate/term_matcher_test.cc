#include "core/annotate/term_matcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unicode/uchar.h>

#include <map>
#include <random>
#include <set>
#include <tuple>

#include "core/annotate/word_borders.h"
#include "core/base/utf8.h"

namespace engram::annotate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TermMatcher MatcherOf(std::vector<Term> terms) {
  absl::StatusOr<TermMatcher> matcher = TermMatcher::Build(std::move(terms));
  EXPECT_TRUE(matcher.ok()) << matcher.status();
  return *std::move(matcher);
}

TermMatcher Words(const std::vector<std::string>& texts) {
  std::vector<Term> terms;
  for (const std::string& text : texts) terms.push_back({text, {"T"}});
  return MatcherOf(std::move(terms));
}

// What was found, as it stands in the text.
std::vector<std::string> Found(const TermMatcher& matcher, const std::string& text) {
  const absl::StatusOr<TermMatches> found = matcher.Match(text);
  EXPECT_TRUE(found.ok()) << found.status();
  std::vector<std::string> out;
  for (const TermMatch& match : found->matches)
    out.push_back(text.substr(match.start_byte, match.end_byte - match.start_byte));
  return out;
}

TEST(TermMatcher, FindsTheSeedsTermsInItsSentence) {
  const std::string text =
      "TensorFlow, developed by Google, is widely used in Python programming for machine learning projects.";
  const TermMatcher matcher = Words({"TensorFlow", "Google", "Python", "Machine Learning"});
  EXPECT_THAT(Found(matcher, text), ElementsAre("TensorFlow", "Google", "Python", "machine learning"));
}

TEST(TermMatcher, TheLongestStandsAndTheOthersAreReported) {
  const TermMatcher matcher = Words({"Google", "Google Brain", "Brain Team", "Team"});
  const std::string text = "The Google Brain Team met.";
  const TermMatches found = *matcher.Match(text);
  EXPECT_THAT(Found(matcher, text), ElementsAre("Google Brain", "Team"));
  ASSERT_EQ(found.overlapped.size(), 2u);
  EXPECT_THAT(found.overlapped[0].terms, ElementsAre(0));
  EXPECT_EQ(found.overlapped[0].start, 4);
  EXPECT_THAT(found.overlapped[1].terms, ElementsAre(2));
}

TEST(TermMatcher, CaseCountsWhereATermSaysSo) {
  const TermMatcher matcher =
      MatcherOf({{"Go", {"LANGUAGE"}, true}, {"go", {"GAME"}, true}, {"Rust", {"LANGUAGE"}, false}});
  EXPECT_THAT(Found(matcher, "Go go GO RUST rust"), ElementsAre("Go", "go", "RUST", "rust"));
}

TEST(TermMatcher, TermsAtOnePlaceAreOneMatch) {
  const TermMatcher matcher = MatcherOf({{"Python", {"LANGUAGE"}}, {"python", {"SNAKE"}}, {"Python", {"X"}, true}});
  const TermMatches found = *matcher.Match("python Python");
  ASSERT_EQ(found.matches.size(), 2u);
  EXPECT_THAT(found.matches[0].terms, ElementsAre(0, 1));
  EXPECT_THAT(found.matches[1].terms, ElementsAre(0, 1, 2));
}

TEST(TermMatcher, OffsetsAreThoseOfTheTextWhateverFoldingDoesToItsLength) {
  // The Kelvin sign (3 bytes) folds to k, the long s (2 bytes) to s, capital sharp s (3 bytes) to ß (2 bytes).
  const std::string text = "\u212A\u017F\u1E9E \U0001F600 KELVIN e\u0301t \u212Aelvin";
  const TermMatcher matcher = Words({"kelvin", "ksß"});
  const TermMatches found = *matcher.Match(text);
  EXPECT_THAT(Found(matcher, text), ElementsAre("\u212A\u017F\u1E9E", "KELVIN", "\u212Aelvin"));
  ASSERT_EQ(found.matches.size(), 3u);
  EXPECT_EQ(found.matches[1].start, 6);
  EXPECT_EQ(found.matches[1].start_byte, 14);
  EXPECT_EQ(found.matches[2].start, 17);
  EXPECT_EQ(found.matches[2].end, 23);
}

TEST(TermMatcher, BordersAreThoseOfWords) {
  EXPECT_THAT(Found(Words({"art"}), "start art. (art) art_1 arts état-art"), ElementsAre("art", "art", "art"));
  EXPECT_THAT(Found(Words({"C++", "C"}), "C++ and C, C++11"), ElementsAre("C++", "C", "C++"));
  EXPECT_THAT(Found(Words({"été"}), "étés été"), ElementsAre("été"));
  EXPECT_THAT(Found(Words({"e"}), "e\u0301 e"), ElementsAre("e")) << "a mark belongs to its letter";
  EXPECT_THAT(Found(Words({"東京"}), "私は東京に行く"), ElementsAre("東京"));
  EXPECT_THAT(Found(Words({"ไทย"}), "ประเทศไทย"), ElementsAre("ไทย"));
  EXPECT_THAT(Found(Words({"москва"}), "МОСКВА москвас"), ElementsAre("МОСКВА"));
}

TEST(TermMatcher, TermsThatCannotBeAreRefusedByTheirPlace) {
  const auto refused = [](std::vector<Term> terms) {
    const absl::StatusOr<TermMatcher> matcher = TermMatcher::Build(std::move(terms));
    EXPECT_EQ(matcher.status().code(), absl::StatusCode::kInvalidArgument);
    return StatusField(matcher.status());
  };
  EXPECT_EQ(refused({}), "terms");
  EXPECT_EQ(refused({{"a", {"T"}}, {" \t", {"T"}}}), "terms[1].text");
  EXPECT_EQ(refused({{"a ", {"T"}}}), "terms[0].text");
  EXPECT_EQ(refused({{"\xff", {"T"}}}), "terms[0].text");
  EXPECT_EQ(refused({{std::string(1 << 20, 'a'), {"T"}}}), "terms[0].text");
  EXPECT_EQ(refused({{"a", {}}}), "terms[0].labels");
  EXPECT_EQ(refused({{"a", {"T", ""}}}), "terms[0].labels");
  EXPECT_EQ(refused({{"a", {std::string(129, 'T')}}}), "terms[0].labels");
  EXPECT_EQ(refused({{"a", {"\xff"}}}), "terms[0].labels");
  EXPECT_EQ(StatusField(Words({"a"}).Match("\xff").status()), "text");
}

TEST(TermMatcher, AThousandNestedTermsInALongTextTakeNoTime) {
  // A walk from each word would take the product of both lengths.
  std::string nested = "a";
  for (int i = 0; i < 450; ++i) nested += " a";
  std::string text = "a";
  for (int i = 0; i < 400'000; ++i) text += " a";
  const TermMatcher matcher = Words({nested + " b"});
  EXPECT_THAT(Found(matcher, text), IsEmpty());
}

TEST(TermMatcher, MoreIsNotFoundThanWasAskedFor) {
  const TermMatcher matcher = Words({"a", "a a", "a a a"});
  EXPECT_EQ(matcher.Match("a a a", 6)->overlapped.size(), 5u);
  EXPECT_EQ(StatusReason(matcher.Match("a a a", 5).status()), "TOO_MANY_MATCHES");
  const TermMatcher twice = Words({"a", "a"});
  EXPECT_TRUE(twice.Match("a a", 4).ok());
  EXPECT_EQ(StatusReason(twice.Match("a a", 3).status()), "TOO_MANY_MATCHES") << "once for every term";
}

TEST(TermMatcher, ManySpellingsOfOneWordTakeNoTime) {
  // A look at every spelling at every place would take the product.
  std::vector<Term> terms;
  for (int i = 0; i < 1 << 16; ++i) {
    std::string word = "abcdefghijklmnopq";
    for (int bit = 0; bit < 16; ++bit) {
      if ((i >> bit & 1) != 0) word[static_cast<size_t>(bit)] -= 'a' - 'A';
    }
    terms.push_back({word, {"T"}, true});
  }
  std::string text = "ABCDEFGHIJKLMNOPq";
  for (int i = 0; i < 20'000; ++i) text += " abcdefghijklmnopQ";
  const TermMatches found = *MatcherOf(terms).Match(text);
  ASSERT_EQ(found.matches.size(), 1u);
  EXPECT_THAT(found.matches[0].terms, ElementsAre((1 << 16) - 1));
}

// ---------------------------------------------------------------- random input against a loop over everything

std::u32string Characters(const std::string& text) {
  std::u32string out;
  for (size_t at = 0; at < text.size();) out += static_cast<char32_t>(DecodeUtf8(text, at));
  return out;
}

struct Brute {
  std::vector<std::tuple<int64_t, int64_t, std::vector<int32_t>>> matches, overlapped;
};

Brute BruteForce(const std::vector<Term>& terms, const std::string& text) {
  const std::u32string characters = Characters(text);
  std::vector<size_t> byte_at;
  for (size_t at = 0; at < text.size(); DecodeUtf8(text, at)) byte_at.push_back(at);
  byte_at.push_back(text.size());
  std::map<std::pair<int64_t, int64_t>, std::vector<int32_t>> places;
  for (size_t t = 0; t < terms.size(); ++t) {
    const std::u32string term = Characters(terms[t].text);
    for (size_t start = 0; start + term.size() <= characters.size(); ++start) {
      bool equal = IsWordBorder(text, byte_at[start]) && IsWordBorder(text, byte_at[start + term.size()]);
      for (size_t i = 0; i < term.size() && equal; ++i) {
        const char32_t c = characters[start + i];
        equal = c == term[i] || (!terms[t].case_sensitive &&
                                 u_foldCase(c, U_FOLD_CASE_DEFAULT) == u_foldCase(term[i], U_FOLD_CASE_DEFAULT));
      }
      if (equal) places[{start, start + term.size()}].push_back(static_cast<int32_t>(t));
    }
  }
  // spaCy's filter_spans, with bytes for tokens.
  std::vector<std::pair<std::pair<int64_t, int64_t>, std::vector<int32_t>>> order(places.begin(), places.end());
  const auto length = [&](const auto& p) { return byte_at[p.first.second] - byte_at[p.first.first]; };
  std::stable_sort(order.begin(), order.end(), [&](const auto& a, const auto& b) { return length(a) > length(b); });
  std::set<int64_t> seen;
  Brute out;
  for (const auto& [place, found] : order) {
    bool free = true;
    for (int64_t i = place.first; i < place.second; ++i) free = free && !seen.contains(i);
    for (int64_t i = place.first; i < place.second && free; ++i) seen.insert(i);
    (free ? out.matches : out.overlapped).emplace_back(place.first, place.second, found);
  }
  std::sort(out.matches.begin(), out.matches.end());
  std::sort(out.overlapped.begin(), out.overlapped.end());
  return out;
}

TEST(TermMatcher, EqualsBruteForceOnRandomInput) {
  std::mt19937 random(7);
  // Few characters, so that much is found and overlaps; some change their length when folded.
  const std::vector<std::string> alphabet = {"a",      "b", "A",  "B",  " ",  " ", "-",      "é", "É",
                                             "\u212A", "k", "東", "東", "京", "-", "\u0301", "_"};
  const auto text_of = [&](size_t length) {
    std::string text;
    for (size_t i = 0; i < length; ++i) text += alphabet[random() % alphabet.size()];
    return text;
  };
  int64_t found = 0, overlapped = 0;
  for (int round = 0; round < 6000; ++round) {
    std::vector<Term> terms;
    for (size_t i = 0, n = 1 + random() % 30; i < n; ++i) {
      std::string term = text_of(1 + random() % 5);
      if (term.front() == ' ' || term.back() == ' ') continue;
      terms.push_back({term, {"T"}, random() % 3 == 0});
    }
    if (terms.empty()) continue;
    const std::string text = text_of(random() % 60);
    const TermMatches got = *MatcherOf(terms).Match(text);
    const Brute expected = BruteForce(terms, text);
    const auto flat = [](const std::vector<TermMatch>& matches) {
      std::vector<std::tuple<int64_t, int64_t, std::vector<int32_t>>> out;
      for (const TermMatch& m : matches) out.emplace_back(m.start, m.end, m.terms);
      return out;
    };
    ASSERT_EQ(flat(got.matches), expected.matches) << text;
    ASSERT_EQ(flat(got.overlapped), expected.overlapped) << text;
    found += static_cast<int64_t>(expected.matches.size());
    overlapped += static_cast<int64_t>(expected.overlapped.size());
  }
  EXPECT_GT(found, 2000);
  EXPECT_GT(overlapped, 500);
}

TEST(TermMatcher, ManyTermsAreAllFound) {
  std::mt19937 random(11);
  std::set<std::string> names;
  while (names.size() < 50'000) {
    std::string name;
    for (size_t i = 0, n = 3 + random() % 8; i < n; ++i) name += static_cast<char>('a' + random() % 26);
    names.insert(name);
  }
  const std::vector<std::string> list(names.begin(), names.end());
  const TermMatcher matcher = Words(list);
  std::string text;
  for (const std::string& name : list) text += name + ". ";
  const TermMatches found = *matcher.Match(text);
  ASSERT_EQ(found.matches.size(), list.size());
  for (size_t i = 0; i < list.size(); ++i) EXPECT_THAT(found.matches[i].terms, ElementsAre(i));
}

}  // namespace
}  // namespace engram::annotate
