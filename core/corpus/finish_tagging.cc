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
  const std::vector<int64_t>& lines = raw.lines[sentence];
  if (lines.size() == raw.sentences[sentence].words.size()) return {lines[word], ""};
  return {lines[0], absl::StrCat("word ", word + 1, ": ")};
}

bool IsBlank(const std::string& word) {
  const auto parts = tagging::SplitWords(word);
  return !parts.ok() || parts->empty();
}

// Entities all of whose words are white space.
void ListBlankEntities(const RawSentences& raw, LineList& blank) {
  for (size_t s = 0; s < raw.sentences.size(); ++s) {
    const TaggedSentence& sentence = raw.sentences[s];
    for (size_t i = 0; i < sentence.words.size();) {
      const size_t first = i++;
      if (sentence.tags[first] == "O") continue;
      bool empty = IsBlank(sentence.words[first]);
      for (; i < sentence.words.size() && sentence.tags[i][0] == 'I'; ++i) empty = empty && IsBlank(sentence.words[i]);
      if (empty) blank.Add(PlaceOf(raw, s, first).line, Quoted(sentence.tags[first].substr(2)));
    }
  }
}

// Tags that make no entities: any text without white space, but none that a tagger's labels would be read as entities by.
void FinishWordTags(RawSentences&& raw, RowErrors& errors, Reading& reading) {
  std::set<std::string> tags;
  for (size_t s = 0; s < raw.sentences.size(); ++s) {
    const TaggedSentence& sentence = raw.sentences[s];
    for (size_t i = 0; i < sentence.tags.size(); ++i) {
      if (!tags.insert(sentence.tags[i]).second || tagging::ValidateTypeName(sentence.tags[i]).ok()) continue;
      const Place place = PlaceOf(raw, s, i);
      errors.Add(place.line,
                 absl::StrCat(place.lead, "has a tag that is empty, longer than 128 bytes, or has white space"));
    }
  }
  const absl::StatusOr<tagging::TagSet> set = tagging::TagSet::FromTags({tags.begin(), tags.end()});
  if (errors.empty() && set.ok() && set->reading() != tagging::TagReading::kWords) {
    errors.Add(raw.lines[0][0],
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
  for (const TaggedSentence& sentence : raw.sentences) {
    for (const std::string& tag : sentence.tags) {
      if (tag == "O") {
        outside = true;
      } else if (LooksPrefixed(tag) || !tagging::ValidateTypeName(tag).ok()) {
        return;
      } else {
        types.insert(tag);
      }
    }
  }
  if (!outside || types.empty()) return;
  for (TaggedSentence& sentence : raw.sentences) {
    for (std::string& tag : sentence.tags) {
      if (tag != "O") tag.insert(0, "I-");
    }
  }
  reading.notes.push_back({"TYPES_WITHOUT_PREFIX",
                           absl::StrCat("tags are types without B- and I- (", QuotedList({types.begin(), types.end()}),
                                        "): words of one type that follow each other were read as one entity"),
                           static_cast<int64_t>(types.size())});
}

}  // namespace

std::string JoinWords(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) absl::StrAppend(&text, text.empty() ? "" : " ", word);
  return text;
}

void FinishTagging(RawSentences&& raw, const ReadOptions& options, RowErrors& errors, Reading& reading) {
  if (options.kind == DatasetKind::kWordTags) return FinishWordTags(std::move(raw), errors, reading);
  ReadBareTypes(raw, reading);
  tagging::SchemeDetector detector;
  bool known = true;
  for (size_t s = 0; s < raw.sentences.size(); ++s) {
    const auto unknown = tagging::UnknownTags(raw.sentences[s].tags);
    for (const tagging::TagProblem& problem : unknown) {
      const Place place = PlaceOf(raw, s, problem.word);
      const bool first = errors.empty();
      errors.Add(place.line, absl::StrCat(place.lead, problem.message,
                                          first ? "; tags that make no entities, as parts of speech, are read with "
                                                  "--kind word-tags"
                                                : ""));
    }
    known = known && unknown.empty();
    if (unknown.empty()) detector.Add(raw.sentences[s].tags);
  }
  if (!known) return;
  const tagging::TagScheme scheme = detector.scheme();
  LineList repaired;
  for (size_t s = 0; s < raw.sentences.size(); ++s) {
    TaggedSentence& sentence = raw.sentences[s];
    for (const tagging::TagProblem& problem : tagging::Deviations(sentence.tags, scheme)) {
      const Place place = PlaceOf(raw, s, problem.word);
      repaired.Add(place.line, absl::StrCat(place.lead, problem.message));
      if (options.strict) errors.Add(place.line, absl::StrCat(place.lead, problem.message));
    }
    sentence.tags = tagging::ToBio2(sentence.tags);
  }
  repaired.AddTo(reading.notes, "TAGS_REPAIRED",
                 absl::StrCat("tag(s) out of the scheme ", AbslView(tagging::TagSchemeName(scheme)),
                              " were read as seqeval and conlleval read them"),
                 "; --strict refuses them");
  LineList blank;
  ListBlankEntities(raw, blank);
  blank.AddTo(reading.notes, "ENTITY_WITHOUT_WORD", "entities cover white space alone", "; no tagger can find them");
  reading.dataset.kind = DatasetKind::kTagging;
  reading.dataset.sentences = std::move(raw.sentences);
}

}  // namespace engram::corpus
