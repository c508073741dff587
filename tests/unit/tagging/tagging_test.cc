#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <sstream>

#include "core/base/random.h"
#include "core/base/utf8.h"
#include "core/tagging/bio.h"
#include "core/tagging/spans.h"
#include "core/tagging/viterbi.h"
#include "core/tagging/windows.h"
#include "core/tagging/words.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::tagging {
namespace {

using ::testing::ElementsAre;

std::vector<Word> Split(std::string_view text) { return SplitWords(text).value(); }

std::vector<std::string> WordsOf(std::string_view text) {
  std::vector<std::string> words;
  for (const Word& word : Split(text)) words.emplace_back(word.In(text));
  return words;
}

// Every legal sequence of `length` tags, by trying all.
std::vector<std::vector<int32_t>> LegalSequences(const TagSet& tags, int length) {
  std::vector<std::vector<int32_t>> all = {{}};
  for (int t = 0; t < length; ++t) {
    std::vector<std::vector<int32_t>> longer;
    for (const auto& sequence : all) {
      for (int32_t tag = 0; tag < tags.size(); ++tag) {
        if (!tags.Allowed(sequence.empty() ? TagSet::kNone : sequence.back(), tag)) continue;
        longer.push_back(sequence);
        longer.back().push_back(tag);
      }
    }
    all = std::move(longer);
  }
  return all;
}

// Whether a legal sequence may end here: no entity of BIOES is open.
bool MayEnd(const TagSet& tags, int32_t tag) {
  return tags.reading() != TagReading::kBioes ||
         (tags.prefix(tag) != TagPrefix::kBegin && tags.prefix(tag) != TagPrefix::kInside);
}

class EveryReading : public ::testing::TestWithParam<std::vector<std::string>> {};
INSTANTIATE_TEST_SUITE_P(Viterbi, EveryReading,
                         ::testing::Values(std::vector<std::string>{"O", "B-a", "I-a", "B-b", "I-b"},
                                           std::vector<std::string>{"B-a", "I-a", "I-b", "O"},
                                           std::vector<std::string>{"a", "O", "b"},
                                           std::vector<std::string>{"E-a", "O", "I-a", "S-a", "B-a", "S-b"},
                                           std::vector<std::string>{"B-a", "L-a", "O", "B-b", "L-b", "I-b", "U-b"},
                                           std::vector<std::string>{"ADJ", "NOUN", "X"}));

TEST_P(EveryReading, EqualsTryingAllLegalSequences) {
  const TagSet tags = *TagSet::FromTags(GetParam());
  RandomStream random(1, RandomPurpose::kSubset, 0);
  for (int round = 0; round < 60; ++round) {
    const int length = 1 + static_cast<int>(random.NextBelow(5));
    std::vector<float> logits;
    for (int i = 0; i < length * tags.size(); ++i) logits.push_back(static_cast<float>(2 * random.NextNormal()));
    const std::vector<float> p = LogSoftmaxRows(logits, tags.size());
    double best = -std::numeric_limits<double>::infinity(), total = 0;
    auto legal = LegalSequences(tags, length);
    std::erase_if(legal, [&](const auto& sequence) { return !MayEnd(tags, sequence.back()); });
    const auto score = [&](const std::vector<int32_t>& sequence) {
      double sum = 0;
      for (int t = 0; t < length; ++t)
        sum += p[static_cast<size_t>(t * tags.size() + sequence[static_cast<size_t>(t)])];
      return sum;
    };
    for (const auto& sequence : legal) {
      best = std::max(best, score(sequence));
      total += std::exp(score(sequence));
    }
    const auto path = Viterbi(tags, p);
    ASSERT_TRUE(path.ok());
    EXPECT_NEAR(path->score, best, 1e-5);
    EXPECT_NEAR(score(path->tags), best, 1e-5);
    const std::vector<TagSpan> spans = TagsToSpans(tags, path->tags);
    const auto probabilities = EntityProbabilities(tags, p, spans);
    ASSERT_TRUE(probabilities.ok());
    for (size_t s = 0; s < spans.size(); ++s) {
      double mass = 0;
      for (const auto& sequence : legal) {
        const auto found = TagsToSpans(tags, sequence);
        if (std::find(found.begin(), found.end(), spans[s]) != found.end()) mass += std::exp(score(sequence));
      }
      EXPECT_NEAR((*probabilities)[s], mass / total, 1e-5);
    }
  }
}

// What the labels of taggers on the hub say of their scheme.
TEST(TagSet, TheLabelsSayTheReading) {
  const auto reading = [](const std::vector<std::string>& tags) { return TagSet::FromTags(tags)->reading(); };
  EXPECT_EQ(reading({"O", "B-PER", "I-PER", "B-TIME"}), TagReading::kBio2);
  EXPECT_EQ(reading({"B-LOC", "I-LOC", "I-PER", "O"}), TagReading::kIob1);
  EXPECT_EQ(reading({"O", "I-PER", "I-LOC"}), TagReading::kIob1);
  EXPECT_EQ(reading({"O", "PER", "LOC"}), TagReading::kIob1);
  EXPECT_EQ(reading({"I-PER", "B-PER"}), TagReading::kIob1);  // no O
  EXPECT_EQ(reading({"O", "B-PER", "I-PER", "E-PER", "S-PER"}), TagReading::kBioes);
  EXPECT_EQ(reading({"O", "B-PER", "I-PER", "L-PER", "U-PER"}), TagReading::kBioes);
  EXPECT_EQ(reading({"O", "B-PER", "M-PER", "E-PER", "S-PER"}), TagReading::kBioes);
  EXPECT_EQ(reading({"ADJ", "NOUN", "PUNCT"}), TagReading::kWords);
  EXPECT_EQ(reading({"LABEL_0", "LABEL_1"}), TagReading::kWords);
  const auto refusal = [](const std::vector<std::string>& tags) {
    return std::string(TagSet::FromTags(tags).status().message());
  };
  EXPECT_THAT(refusal({"O"}), ::testing::HasSubstr("at least one entity type"));
  EXPECT_THAT(refusal({"O", "PER", "I-PER"}), ::testing::HasSubstr("mean the same"));
  EXPECT_THAT(refusal({"O", "E-a", "L-a", "B-a"}), ::testing::HasSubstr("mean the same"));
  EXPECT_THAT(refusal({"B-a", "E-a"}), ::testing::HasSubstr("\"O\" is missing"));
  EXPECT_THAT(refusal({"O", "B-a", "I-a", "S-b"}), ::testing::HasSubstr("could end it"));
  EXPECT_THAT(refusal({"proper noun", "verb"}), ::testing::HasSubstr("white space"));
}

// Where the labels are those of BIO2 and of IOB1 alike, the scheme says how they read; elsewhere it changes nothing.
TEST(TagSet, TheSchemeCountsWhereTheLabelsLeaveItOpen) {
  const std::vector<std::string> open = {"O", "B-a", "I-a"};
  const std::vector<int32_t> from_inside = {0, 2, 2, 1};
  EXPECT_EQ(TagSet::FromTags(open)->reading(), TagReading::kBio2);
  for (const std::string_view scheme : {kIob1Scheme, kLenientScheme}) {
    const TagSet tags = *TagSet::FromTags(open, scheme);
    EXPECT_EQ(tags.reading(), TagReading::kIob1);
    EXPECT_EQ(tags.writes_inside_first(), scheme == kIob1Scheme);
    // The most probable tags are legal in IOB1 alone.
    std::vector<float> logits(12, 0);
    for (size_t word = 0; word < from_inside.size(); ++word)
      logits[word * 3 + static_cast<size_t>(from_inside[word])] = 2;
    const auto path = Viterbi(tags, LogSoftmaxRows(logits, 3));
    ASSERT_TRUE(path.ok()) << path.status();
    EXPECT_EQ(path->tags, from_inside);
    EXPECT_THAT(TagsToSpans(tags, path->tags), ElementsAre(TagSpan{1, 3, 0}, TagSpan{3, 4, 0}));
    EXPECT_EQ(TagSet::FromTags({"O", "B-a", "I-a", "E-a", "S-a"}, scheme)->reading(), TagReading::kBioes);
    EXPECT_EQ(TagSet::FromTags({"ADJ", "NOUN"}, scheme)->reading(), TagReading::kWords);
  }
  EXPECT_TRUE(TagSet::FromTags({"O", "B-a", "I-a", "I-b"}, kLenientScheme)->writes_inside_first());
  EXPECT_EQ(StatusField(TagSet::FromTags(open, "bio2").status()), "tag_scheme");
}

TEST(TagSet, StoredTagsBecomeThoseOfTheTagger) {
  const std::vector<std::string> bio2 = {"B-a", "B-a", "I-a", "I-a", "O", "B-b", "B-a"};
  const auto written = [&](const std::vector<std::string>& names, std::string_view scheme = {}) {
    const TagSet tags = *TagSet::FromTags(names, scheme);
    std::vector<std::string> out;
    const auto ids = IdsOfBio2(tags, bio2);
    if (!ids.ok()) return std::vector<std::string>{std::string(ids.status().message())};
    for (const int32_t id : *ids) out.push_back(names[static_cast<size_t>(id)]);
    return out;
  };
  EXPECT_EQ(written({"O", "B-a", "I-a", "B-b", "I-b"}), bio2);
  EXPECT_THAT(written({"O", "B-a", "I-a", "I-b"}), ElementsAre("I-a", "B-a", "I-a", "I-a", "O", "I-b", "I-a"));
  EXPECT_THAT(written({"O", "B-a", "I-a", "B-b", "I-b"}, kIob1Scheme),
              ElementsAre("I-a", "B-a", "I-a", "I-a", "O", "I-b", "I-a"));
  EXPECT_EQ(written({"O", "B-a", "I-a", "B-b", "I-b"}, kLenientScheme), bio2);
  EXPECT_THAT(written({"O", "a", "b"}), ElementsAre("a", "a", "a", "a", "O", "b", "a"));
  EXPECT_THAT(written({"O", "S-a", "B-a", "I-a", "E-a", "S-b"}),
              ElementsAre("S-a", "B-a", "I-a", "E-a", "O", "S-b", "S-a"));
  EXPECT_THAT(written({"O", "a"})[0], ::testing::HasSubstr("\"B-b\" is no tag of the task"));
  EXPECT_THAT(written({"O", "S-a", "S-b"})[0], ::testing::HasSubstr("no tags of the type a"));
}

// A tagger without an O has nothing to say of a word that the tokenizer drops.
TEST(Viterbi, AWordWithoutATagIsNoEntity) {
  const TagSet tags = *TagSet::FromTags({"ADJ", "NOUN"});
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const std::vector<float> p = LogSoftmaxRows(std::vector<float>{1, 2, kNone, kNone, 3, 2}, 2);
  const auto path = Viterbi(tags, p);
  ASSERT_TRUE(path.ok()) << path.status();
  EXPECT_THAT(path->tags, ElementsAre(1, TagSet::kNone, 0));
  EXPECT_THAT(TagsToSpans(tags, path->tags), ElementsAre(TagSpan{0, 1, 1}, TagSpan{2, 3, 0}));
}

TEST(Viterbi, RefusesNotANumber) {
  const TagSet tags = *TagSet::FromTypes({"x"});
  EXPECT_FALSE(Viterbi(tags, std::vector<float>(3, std::numeric_limits<float>::quiet_NaN())).ok());
  // Rows that are no log-probabilities, however large, still give probabilities.
  const TagSet words = *TagSet::FromTags({"O", "noun", "verb"});
  const std::vector<float> rows = {1e30F, 1e30F, 0, 3, 2, 1};
  const auto probabilities = EntityProbabilities(words, rows, std::vector<TagSpan>{{0, 1, 0}, {1, 2, 1}});
  ASSERT_TRUE(probabilities.ok()) << probabilities.status();
  const double sum = std::exp(3.0) + std::exp(2.0) + std::exp(1.0);
  EXPECT_NEAR((*probabilities)[0], 0.5 * (1 - std::exp(2.0) / sum), 1e-12);  // a noun, and no further one behind it
  EXPECT_NEAR((*probabilities)[1], std::exp(1.0) / sum, 1e-12);
  EXPECT_TRUE(Viterbi(tags, {}).value().tags.empty());
}

using Tags = std::vector<std::string>;

TagScheme SchemeOf(const std::vector<Tags>& sentences) {
  SchemeDetector detector;
  for (const Tags& tags : sentences) detector.Add(tags);
  return detector.scheme();
}

std::vector<size_t> WordsThatDeviate(const Tags& tags, TagScheme scheme) {
  std::vector<size_t> words;
  for (const TagProblem& problem : Deviations(tags, scheme)) words.push_back(problem.word);
  return words;
}

TEST(Bio, SchemesBecomeBio2) {
  const Tags iob1 = {"I-per", "I-per", "B-per", "O", "I-loc"};
  EXPECT_EQ(SchemeOf({iob1}), TagScheme::kIob1);
  EXPECT_THAT(ToBio2(iob1), ElementsAre("B-per", "I-per", "B-per", "O", "B-loc"));
  EXPECT_TRUE(Deviations(iob1, TagScheme::kIob1).empty());
  const Tags bioes = {"B-per", "I-per", "E-per", "O", "S-loc"};
  EXPECT_EQ(SchemeOf({bioes}), TagScheme::kBioes);
  EXPECT_THAT(ToBio2(bioes), ElementsAre("B-per", "I-per", "I-per", "O", "B-loc"));
  EXPECT_TRUE(Deviations(bioes, TagScheme::kBioes).empty());
  EXPECT_EQ(ToBio2(Tags{"B-per", "I-per", "L-per", "O", "U-loc"}), ToBio2(bioes));
  EXPECT_EQ(ToBio2(Tags{"B-per", "M-per", "E-per", "O", "S-loc"}), ToBio2(bioes));
  EXPECT_EQ(SchemeOf({{"B-per", "I-per", "B-per"}, {"O"}}), TagScheme::kBio2);
}

TEST(Bio, TheLenientReadingIsSeqevals) {
  std::ifstream file(std::string(ENGRAM_TEST_DATA) + "/seqeval_readings.tsv");
  int64_t sentences = 0;
  for (std::string line; std::getline(file, line); ++sentences) {
    const size_t tab = line.find('\t');
    std::istringstream words(line.substr(0, tab)), entities(line.substr(tab + 1));
    const Tags tags(std::istream_iterator<std::string>(words), {});
    ASSERT_TRUE(UnknownTags(tags).empty()) << line;
    const Tags read = ToBio2(tags);
    std::vector<std::string> found;
    for (size_t i = 0; i < read.size();) {
      ASSERT_NE(read[i][0], 'I') << line;
      const size_t first = i++;
      if (read[first] == "O") continue;
      const std::string type = read[first].substr(2);
      while (i < read.size() && read[i] == "I-" + type) ++i;
      found.push_back(type + ":" + std::to_string(first) + ":" + std::to_string(i - 1));
    }
    EXPECT_EQ(found, Tags(std::istream_iterator<std::string>(entities), {})) << line;
    EXPECT_TRUE(Deviations(read, TagScheme::kBio2).empty()) << line;
  }
  EXPECT_EQ(sentences, 400);
}

TEST(Bio, DeviationsAreTheTagsThatTheSchemeDoesNotHave) {
  EXPECT_THAT(WordsThatDeviate({"O", "I-a", "I-a", "I-b", "B-b", "I-b"}, TagScheme::kBio2), ElementsAre(1, 3));
  EXPECT_THAT(WordsThatDeviate({"B-a", "I-a", "B-a", "O", "B-a", "I-b", "B-a"}, TagScheme::kIob1),
              ElementsAre(0, 4, 6));
  EXPECT_THAT(WordsThatDeviate({"B-a", "O", "B-a", "I-a", "O", "E-a", "S-a", "I-a", "B-b", "E-b"}, TagScheme::kBioes),
              ElementsAre(0, 3, 5, 7));
  EXPECT_THAT(WordsThatDeviate({"I-O", "S-a", "E-a"}, TagScheme::kBio2), ElementsAre(0, 1, 2));
}

// One tag of another scheme is named itself, and none of its neighbours.
TEST(Bio, AStrayTagDoesNotTurnTheScheme) {
  const Tags stray = {"O", "B-loc", "O", "S-occasion"};
  EXPECT_EQ(SchemeOf({stray}), TagScheme::kBio2);
  EXPECT_THAT(WordsThatDeviate(stray, TagScheme::kBio2), ElementsAre(3));
  EXPECT_EQ(SchemeOf({{"I-org", "O", "B-misc"}}), TagScheme::kIob1);
  EXPECT_EQ(SchemeOf({{"O", "B-org", "O"}, {"I-org", "O"}}), TagScheme::kBio2);
  EXPECT_EQ(SchemeOf({{"B-a", "O"}, {"I-a"}, {"I-a"}}), TagScheme::kIob1);
  EXPECT_EQ(SchemeOf({{"S-a", "B-a", "E-a", "B-b"}, {"S-b"}}), TagScheme::kBioes);
}

TEST(Bio, ATypeCalledOIsOutside) {
  EXPECT_THAT(ToBio2(Tags{"I-O", "B-org", "I-O", "I-org"}), ElementsAre("O", "B-org", "O", "B-org"));
  EXPECT_THAT(Deviations(Tags{"I-O"}, TagScheme::kIob1)[0].message, ::testing::HasSubstr("\"I-O\""));
}

TEST(Bio, UnknownTagsAreAllNamed) {
  const auto problems = UnknownTags(Tags{"Q-per", "O", "B-", "per", "M-", "B-a b"});
  std::vector<size_t> words;
  for (const TagProblem& problem : problems) words.push_back(problem.word);
  EXPECT_THAT(words, ElementsAre(0, 2, 3, 4, 5));
}

TEST(Bio, TagSetsOfModels) {
  EXPECT_THAT(TagSet::FromTypes({"a", "b"})->names(), ElementsAre("O", "B-a", "I-a", "B-b", "I-b"));
  EXPECT_EQ(TagSet::FromTags({"B-a", "O", "I-a"})->outside(), 1);
  EXPECT_FALSE(TagSet::FromTags({"O", "B-a", "B-a"}).ok());  // twice
  EXPECT_FALSE(TagSet::FromTypes({"a b"}).ok());
}

TEST(Spans, RoundTripOnLegalSequences) {
  const TagSet tags = *TagSet::FromTypes({"a", "b"});
  for (const auto& sequence : LegalSequences(tags, 4)) {
    EXPECT_EQ(*SpansToTags(tags, TagsToSpans(tags, sequence), 4), sequence);
    EXPECT_EQ(TagsToSpans(tags, sequence, SpanReading::kStrict), TagsToSpans(tags, sequence, SpanReading::kLenient));
  }
}

TEST(Words, FollowTheRules) {
  EXPECT_THAT(WordsOf("I don't pay $3.50, e-mail a@b.org!!"),
              ElementsAre("I", "do", "n't", "pay", "$", "3.50", ",", "e-mail", "a@b.org", "!!"));
  EXPECT_THAT(WordsOf("@user #topic U.S. 14:30 https://x.org/a?b=1."),
              ElementsAre("@user", "#topic", "U.S.", "14:30", "https://x.org/a?b=1", "."));
  EXPECT_THAT(WordsOf("東京 Tokyo"), ElementsAre("東", "京", "Tokyo"));
  EXPECT_THAT(WordsOf("東abc"), ElementsAre("東", "abc"));
  EXPECT_THAT(WordsOf("red,green 1,5 a:b"), ElementsAre("red", ",", "green", "1,5", "a", ":", "b"));
  EXPECT_TRUE(WordsOf(" \t\n").empty());
  EXPECT_FALSE(SplitWords("\xff").ok());
}

TEST(Words, PlacesPointIntoTheText) {
  const std::string text = "Zoë 😀 naïve—Paris-based";
  int64_t previous = 0;
  for (const Word& word : Split(text)) {
    EXPECT_EQ(CountCodePoints(text.substr(0, word.start_byte)), word.start);
    EXPECT_EQ(CountCodePoints(text.substr(0, word.end_byte)), word.end);
    EXPECT_GE(word.start_byte, previous);
    previous = word.end_byte;
  }
  std::vector<Word> words = Split("Paris-based firm");
  EXPECT_EQ(CutWords("Paris-based firm", &words, {0, 5}), 1);
  EXPECT_EQ(words[0].end, 5);
}

TEST(Windows, OwnEveryWordOnceAndKeepTheBudget) {
  RandomStream random(2, RandomPurpose::kSubset, 0);
  for (int round = 0; round < 50; ++round) {
    std::vector<int32_t> counts;
    const uint64_t length = 1 + random.NextBelow(200);
    for (uint64_t i = 0; i < length; ++i) counts.push_back(static_cast<int32_t>(random.NextBelow(6)));
    const auto windows = PlanWordWindows(counts, 20, 5);
    ASSERT_TRUE(windows.ok());
    int32_t owned = 0;
    for (const WordWindow& window : *windows) {
      EXPECT_EQ(window.first_owned, owned);
      owned = window.end_owned;
      EXPECT_LE(window.first_word, window.first_owned);
      EXPECT_GE(window.end_word, window.end_owned);
      int32_t tokens = 0;
      for (int32_t i = window.first_word; i < window.end_word; ++i) tokens += counts[static_cast<size_t>(i)];
      EXPECT_LE(tokens, 20);
      EXPECT_EQ(window.tokens, tokens);
      EXPECT_FALSE(window.word_cut);
    }
    EXPECT_EQ(owned, static_cast<int32_t>(counts.size()));
  }
  // 25 words of one token: [0, 10), [8, 18), and a last one that reaches back as far as it may.
  EXPECT_EQ(PlanWordWindows(std::vector<int32_t>(25, 1), 10, 2)->back().first_word, 15);
  EXPECT_TRUE(PlanWordWindows(std::vector<int32_t>{50}, 20, 5)->front().word_cut);
  EXPECT_FALSE(PlanWordWindows(std::vector<int32_t>{1}, 0, 0).ok());
}

// Distance in tokens of words [word, word + 1) to the nearer border of the window; an end of the document is no border.
int64_t ToTheBorder(const std::vector<int32_t>& counts, const WordWindow& window, int32_t word) {
  int64_t left = 0, right = 0;
  for (int32_t i = window.first_word; i < word; ++i) left += counts[static_cast<size_t>(i)];
  for (int32_t i = word + 1; i < window.end_word; ++i) right += counts[static_cast<size_t>(i)];
  constexpr int64_t kFar = 1'000'000;
  return std::min(window.first_word == 0 ? kFar : left,
                  window.end_word == static_cast<int32_t>(counts.size()) ? kFar : right);
}

TEST(Windows, EveryWordComesFromTheWindowWhereItIsFarthestFromABorder) {
  RandomStream random(3, RandomPurpose::kSubset, 0);
  for (int round = 0; round < 200; ++round) {
    std::vector<int32_t> counts;
    const uint64_t length = 1 + random.NextBelow(120);
    for (uint64_t i = 0; i < length; ++i) counts.push_back(1 + static_cast<int32_t>(random.NextBelow(6)));
    const int32_t budget = 8 + static_cast<int32_t>(random.NextBelow(40)),
                  overlap = static_cast<int32_t>(random.NextBelow(static_cast<uint64_t>(budget) / 2 + 1));
    const auto windows = PlanWordWindows(counts, budget, overlap).value();
    int64_t total = 0;
    for (const int32_t count : counts) total += count;
    EXPECT_EQ(windows.size() == 1, total <= budget);  // what fits is one window
    for (size_t i = 0; i < windows.size(); ++i) {
      const WordWindow& window = windows[i];
      for (int32_t word = window.first_owned; word < window.end_owned; ++word) {
        for (const WordWindow& other : windows) {
          if (word < other.first_word || word >= other.end_word) continue;
          EXPECT_GE(ToTheBorder(counts, window, word), ToTheBorder(counts, other, word)) << "word " << word;
        }
      }
      if (i + 1 == windows.size()) continue;
      // Neighbours share the overlap, unless the next word would not fit then.
      const WordWindow& next = windows[i + 1];
      int64_t shared = 0;
      for (int32_t word = next.first_word; word < window.end_word; ++word) shared += counts[static_cast<size_t>(word)];
      const int64_t one_more =
          next.first_word > window.first_word + 1 ? counts[static_cast<size_t>(next.first_word) - 1] : 0;
      EXPECT_TRUE(shared >= overlap || one_more == 0 ||
                  shared + one_more + counts[static_cast<size_t>(window.end_word)] > budget);
    }
  }
}

// Texts in which every rule has to hold its places: what lies between two words is white space or a control character.
TEST(Words, LeaveOutNothingButSpaceAndControls) {
  for (const std::string& text :
       {std::string("Zoe\u0308 \u2764\ufe0f O\u2019Brien's e\u0301\u0323"),
        std::string("a\0b \u0085c\u2028d\u00a0e", 14),
        std::string("👨‍👩‍👧 🇫🇷 1\ufe0f\u20e3 👍🏽!!!"),
        std::string("\u0301x \u0301\u0301 東\u0301京"), std::string("soft\u00adhyphen zero\u200bwidth \ufeffmark"),
        std::string("www. http:// @ # U.S.. 'tis n't 's")}) {
    int64_t previous = 0;
    const auto gap = [&](int64_t from, int64_t to) {
      for (size_t at = static_cast<size_t>(from); at < static_cast<size_t>(to);) {
        const auto c = static_cast<char32_t>(DecodeUtf8(text, at));
        EXPECT_TRUE(IsWhiteSpace(c) || c < 0x20 || (c >= 0x7F && c <= 0x9F)) << text << " at " << at;
      }
    };
    for (const Word& word : Split(text)) {
      EXPECT_LT(word.start_byte, word.end_byte);
      EXPECT_EQ(CountCodePoints(word.In(text)), word.end - word.start);
      gap(previous, word.start_byte);
      previous = word.end_byte;
    }
    gap(previous, static_cast<int64_t>(text.size()));
  }
  EXPECT_THAT(WordsOf("e\u0301\u0323a \u2764\ufe0f! 👨‍👩‍👧"),
              ElementsAre("e\u0301\u0323a", "\u2764\ufe0f", "!", "👨‍👩‍👧"));
}

}  // namespace
}  // namespace engram::tagging
