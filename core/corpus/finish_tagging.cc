#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
#include "core/corpus/columns.h"
#include "core/corpus/readers.h"
#include "core/tagging/bio.h"
#include "core/tagging/words.h"

namespace engram::corpus {
namespace {

// Where a word stands, for errors: its line, and its number where the line holds the whole sentence.
struct Place {
  int64_t line;
  std::string lead;
};

Place PlaceOf(const RawSentences& raw, size_t sentence, size_t word) {
  const auto line = [&](size_t at) { return static_cast<int64_t>(raw.lines[at]); };
  if (raw.line_per_word) return {line(raw.sentences.first_word(sentence) + word), ""};
  return {line(sentence), raw.sentences.words(sentence) == 1 ? "" : absl::StrCat("word ", word + 1, ": ")};
}

bool IsBlank(const std::string& word) {
  const auto parts = tagging::SplitWords(word);
  return !parts.ok() || parts->empty();
}

// More tags than kMostLabels types have under any scheme: what each is checked by would take memory without a bound.
bool HasTooManyTags(const RawSentences& raw, RowErrors& errors) {
  constexpr size_t kMostTags = 5 * kMostLabels;
  const NameList& tags = raw.sentences.all_tags();
  if (tags.names().size() <= kMostTags) return false;
  for (size_t s = 0; s < raw.sentences.size(); ++s) {
    for (size_t i = 0; i < raw.sentences.words(s); ++i) {
      if (tags.number(raw.sentences.first_word(s) + i) < kMostTags) continue;
      const Place place = PlaceOf(raw, s, i);
      errors.Add(place.line, absl::StrCat(place.lead, "has a tag that is the ", kMostTags + 1,
                                          "th different one, which are more than a tagger can learn; is another column "
                                          "the tags'? (--tag-column)"));
      return true;
    }
  }
  return true;
}

// Entities all of whose words are white space.
void ListBlankEntities(const RawSentences& raw, LineList& blank) {
  for (size_t s = 0; s < raw.sentences.size(); ++s) {
    const TaggedSentence sentence = raw.sentences[s];
    for (size_t i = 0; i < sentence.words.size();) {
      const size_t first = i++;
      if (sentence.tags[first] == "O" || sentence.tags[first] == tagging::kMissingTag) continue;
      bool empty = IsBlank(sentence.words[first]);
      for (; i < sentence.words.size() && sentence.tags[i][0] == 'I'; ++i) empty = empty && IsBlank(sentence.words[i]);
      if (empty) blank.Add(PlaceOf(raw, s, first).line, Quoted(sentence.tags[first].substr(2)));
    }
  }
}

// Tags that make no entities: any text without white space, but none that a tagger's labels would be read as entities by.
void FinishWordTags(RawSentences&& raw, RowErrors& errors, Reading& reading) {
  const NameList& tags = raw.sentences.all_tags();
  std::vector<bool> seen(tags.names().size());
  for (size_t s = 0; s < raw.sentences.size(); ++s) {
    const size_t first = raw.sentences.first_word(s);
    for (size_t i = 0; i < raw.sentences.words(s); ++i) {
      const uint32_t tag = tags.number(first + i);
      if (seen[tag]) continue;
      seen[tag] = true;
      if (tagging::ValidateTypeName(tags.names()[tag]).ok()) continue;
      const Place place = PlaceOf(raw, s, i);
      errors.Add(place.line,
                 absl::StrCat(place.lead, "has a tag that is empty, longer than 128 bytes, or has white space"));
    }
  }
  const auto set = tagging::TagSet::FromTags({tags.names().begin(), tags.names().end()});
  if (errors.empty() && set.ok() && set->reading() != tagging::TagReading::kWords) {
    errors.Add(static_cast<int64_t>(raw.lines[0]),
               "has tags of entities (\"O\" among them, or B-<type> and I-<type> alone): leave --kind out, or "
               "write another name for the tag \"O\"");
  }
  reading.dataset.kind = DatasetKind::kWordTags;
  reading.dataset.sentences = std::move(raw.sentences);
}

// Whether a tag could be a misspelt one with a prefix: "B_PER", "b-PER", "PER-B".
bool LooksPrefixed(std::string_view tag) {
  constexpr std::string_view kLetters = "BIESLUMbieslum", kBetween = "-_.:";
  const auto one_of = [](std::string_view all, char c) { return all.find(c) != std::string_view::npos; };
  if (tag.size() < 2) return true;  // "0"
  return (one_of(kLetters, tag[0]) && one_of(kBetween, tag[1])) ||
         (one_of(kLetters, tag.back()) && one_of(kBetween, tag[tag.size() - 2]));
}

// The scheme IO: "O", and types without a prefix throughout. Neighbours of one type are one entity.
void ReadBareTypes(RawSentences& raw, Reading& reading) {
  bool outside = false;
  std::set<std::string> types;
  for (const std::string_view tag : raw.sentences.all_tags().names()) {
    if (tag == tagging::kMissingTag) continue;
    if (tag == "O") {
      outside = true;
    } else if (LooksPrefixed(tag) || !tagging::ValidateTypeName(tag).ok()) {
      return;
    } else {
      types.emplace(tag);
    }
  }
  if (!outside || types.empty()) return;
  NameList prefixed;
  for (const std::string_view tag : raw.sentences.all_tags())
    prefixed.push_back(tag == "O" || tag == tagging::kMissingTag ? std::string(tag)
                                                                 : absl::StrCat("I-", AbslView(tag)));
  raw.sentences.SetTags(std::move(prefixed));
  reading.notes.push_back({"TYPES_WITHOUT_PREFIX",
                           absl::StrCat("tags are types without B- and I- (", QuotedList({types.begin(), types.end()}),
                                        "): words of one type that follow each other were read as one entity"),
                           static_cast<int64_t>(types.size())});
}

// Words of which nothing is known.
void NoteMissing(const NameList& tags, std::vector<Note>& notes) {
  const auto missing = static_cast<int64_t>(std::count(tags.begin(), tags.end(), tagging::kMissingTag));
  if (missing == 0) return;
  notes.push_back({"UNKNOWN_WORDS",
                   absl::StrCat(missing, " of ", tags.size(),
                                " words are unknown: whether they are of an entity is not said. What is found on them "
                                "is no error in figures, and trainings take a part of them as outside of entities "
                                "(unknown_as_outside)"),
                   missing});
}

}  // namespace

void RawSentences::Add(const TaggedSentence& sentence, const std::vector<int64_t>& word_lines) {
  line_per_word = true;
  sentences.push_back(sentence);
  for (const int64_t line : word_lines) lines.push_back(static_cast<uint64_t>(line));
}

void RawSentences::Add(const TaggedSentence& sentence, int64_t line) {
  sentences.push_back(sentence);
  lines.push_back(static_cast<uint64_t>(line));
}

void FinishTagging(RawSentences&& raw, const ReadOptions& options, RowErrors& errors, Reading& reading) {
  if (HasTooManyTags(raw, errors)) return;
  if (options.kind == DatasetKind::kWordTags) return FinishWordTags(std::move(raw), errors, reading);
  ReadBareTypes(raw, reading);
  tagging::SchemeDetector detector;
  bool known = true;
  for (size_t s = 0; s < raw.sentences.size(); ++s) {
    const std::vector<std::string> tags = raw.sentences.tags(s);
    const auto unknown = tagging::UnknownTags(tags);
    for (const tagging::TagProblem& problem : unknown) {
      const Place place = PlaceOf(raw, s, problem.word);
      const bool first = errors.empty();
      errors.Add(place.line, absl::StrCat(place.lead, problem.message,
                                          first ? "; tags that make no entities, as parts of speech, are read with "
                                                  "--kind word-tags"
                                                : ""));
    }
    known = known && unknown.empty();
    if (unknown.empty()) detector.Add(tags);
  }
  if (!known) return;
  const tagging::TagScheme scheme = detector.scheme();
  LineList repaired;
  NameList bio2;
  for (size_t s = 0; s < raw.sentences.size(); ++s) {
    const std::vector<std::string> tags = raw.sentences.tags(s);
    for (const tagging::TagProblem& problem : tagging::Deviations(tags, scheme)) {
      const Place place = PlaceOf(raw, s, problem.word);
      repaired.Add(place.line, absl::StrCat(place.lead, problem.message));
      if (options.strict) errors.Add(place.line, absl::StrCat(place.lead, problem.message));
    }
    for (const std::string& tag : tagging::ToBio2(tags)) bio2.push_back(tag);
  }
  raw.sentences.SetTags(std::move(bio2));
  repaired.AddTo(reading.notes, "TAGS_REPAIRED",
                 absl::StrCat("tag(s) out of the scheme ", AbslView(tagging::TagSchemeName(scheme)),
                              " were read as seqeval and conlleval read them"),
                 "; --strict refuses them");
  NoteMissing(raw.sentences.all_tags(), reading.notes);
  LineList blank;
  ListBlankEntities(raw, blank);
  blank.AddTo(reading.notes, "ENTITY_WITHOUT_WORD", "entities cover white space alone", "; no tagger can find them");
  reading.dataset.kind = DatasetKind::kTagging;
  reading.dataset.sentences = std::move(raw.sentences);
}

}  // namespace engram::corpus
