#include "absl/strings/str_cat.h"
#include "core/base/strict_json.h"
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

}  // namespace

std::string JoinWords(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) absl::StrAppend(&text, text.empty() ? "" : " ", word);
  return text;
}

void FinishTagging(RawSentences&& raw, const ReadOptions& options, RowErrors& errors, Reading& reading) {
  tagging::SchemeDetector detector;
  bool known = true;
  for (size_t s = 0; s < raw.sentences.size(); ++s) {
    const auto unknown = tagging::UnknownTags(raw.sentences[s].tags);
    for (const tagging::TagProblem& problem : unknown) {
      const Place place = PlaceOf(raw, s, problem.word);
      errors.Add(place.line, absl::StrCat(place.lead, problem.message));
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
