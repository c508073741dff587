#include "core/tagging/spans.h"

#include "absl/strings/str_cat.h"
#include "core/tagging/viterbi.h"

namespace engram::tagging {
namespace {

int32_t TypeAt(const TagSet& tags, int32_t tag) { return tag == TagSet::kNone ? TagSet::kNone : tags.type(tag); }

// The tag of word `i` of a span; kNone if the set has none. `follows`: the word before the span is of its type.
int32_t TagOf(const TagSet& tags, const TagSpan& span, int32_t i, bool follows) {
  const int32_t type = span.type;
  const bool first = i == span.first_word, last = i + 1 == span.end_word;
  switch (tags.reading()) {
    case TagReading::kBio2:
      return first ? tags.begin(type) : tags.inside(type);
    case TagReading::kIob1:  // without a B, or without an I, the other serves
      if (first && (follows || !tags.writes_inside_first()) && tags.begin(type) != TagSet::kNone)
        return tags.begin(type);
      return tags.inside(type) != TagSet::kNone ? tags.inside(type) : tags.begin(type);
    case TagReading::kBioes:
      return first ? (last ? tags.single(type) : tags.begin(type)) : last ? tags.end(type) : tags.inside(type);
    case TagReading::kWords:
      break;
  }
  return tags.single(type);
}

}  // namespace

std::vector<TagSpan> TagsToSpans(const TagSet& tags, std::span<const int32_t> sequence, SpanReading reading) {
  std::vector<TagSpan> spans;
  bool open = false;  // spans.back() may still grow
  for (int32_t i = 0; i < static_cast<int32_t>(sequence.size()); ++i) {
    const int32_t tag = sequence[i];
    const TagPrefix prefix = tag == TagSet::kNone ? TagPrefix::kOutside : tags.prefix(tag);
    if (prefix == TagPrefix::kOutside) {
      open = false;
      continue;
    }
    const int32_t type = tags.type(tag);
    const bool continues = prefix == TagPrefix::kInside || prefix == TagPrefix::kEnd;
    if (continues && open && spans.back().type == type) {
      spans.back().end_word = i + 1;
    } else {
      open = !continues || reading == SpanReading::kLenient || tags.reading() == TagReading::kIob1;
      if (open) spans.push_back({i, i + 1, type});
    }
    if (prefix == TagPrefix::kEnd || prefix == TagPrefix::kSingle) open = false;
  }
  return spans;
}

absl::StatusOr<std::vector<int32_t>> SpansToTags(const TagSet& tags, std::span<const TagSpan> spans, int32_t words) {
  std::vector<int32_t> result(words, tags.outside());
  for (size_t n = 0; n < spans.size(); ++n) {
    const TagSpan& span = spans[n];
    if (span.first_word < 0 || span.first_word >= span.end_word || span.end_word > words) {
      return InvalidField(absl::StrCat("entities[", n, "]"), "is empty or reaches beyond the text");
    }
    if (span.type < 0 || span.type >= static_cast<int32_t>(tags.types().size())) {
      return InvalidField(absl::StrCat("entities[", n, "].label"), "is not a label of this tagger");
    }
    for (int32_t i = span.first_word; i < span.end_word; ++i) {
      if (result[i] != tags.outside()) {
        return InvalidField(absl::StrCat("entities[", n, "]"),
                            "overlaps another entity; a word can have one label only");
      }
      const bool follows = span.first_word > 0 && TypeAt(tags, result[span.first_word - 1]) == span.type;
      result[i] = TagOf(tags, span, i, follows);
      if (result[i] == TagSet::kNone) {
        return InvalidField(
            absl::StrCat("entities[", n, "]"),
            absl::StrCat("has ", span.end_word - span.first_word,
                         " words, for which the tagger has no tags of the type ", tags.types()[span.type]));
      }
    }
  }
  return result;
}

absl::StatusOr<std::vector<int32_t>> IdsOfBio2(const TagSet& tags, std::span<const std::string> bio2) {
  std::vector<TagSpan> spans;
  std::vector<size_t> missing;
  for (size_t i = 0; i < bio2.size(); ++i) {
    if (bio2[i] == kMissingTag) {
      missing.push_back(i);
      continue;
    }
    const auto tag = ParseTag(bio2[i]);
    if (!tag) return InvalidField("rows", absl::StrCat("the tag \"", bio2[i], "\" is no BIO tag"));
    if (tag->prefix == 'O') continue;
    const int32_t type = tags.FindType(tag->type);
    if (type == TagSet::kNone)
      return InvalidField("rows", absl::StrCat("the tag \"", bio2[i], "\" is no tag of the task"));
    const auto at = static_cast<int32_t>(i);
    if (tag->prefix == 'I' && !spans.empty() && spans.back().end_word == at && spans.back().type == type) {
      spans.back().end_word = at + 1;
    } else {
      spans.push_back({at, at + 1, type});
    }
  }
  ENGRAM_ASSIGN_OR_RETURN(std::vector<int32_t> ids, SpansToTags(tags, spans, static_cast<int32_t>(bio2.size())));
  for (const size_t i : missing) ids[i] = TagSet::kNone;
  return ids;
}

std::vector<Entity> LocateEntities(std::string_view text, std::span<const Word> words, const TagSet& tags,
                                   std::span<const TagSpan> spans, std::span<const double> probabilities) {
  std::vector<Entity> entities;
  entities.reserve(spans.size());
  for (size_t n = 0; n < spans.size(); ++n) {
    const Word &first = words[spans[n].first_word], &last = words[spans[n].end_word - 1];
    Entity entity;
    entity.type = tags.types()[spans[n].type];
    entity.text = text.substr(first.start_byte, last.end_byte - first.start_byte);
    entity.start = first.start;
    entity.end = last.end;
    entity.start_byte = first.start_byte;
    entity.end_byte = last.end_byte;
    entity.first_word = spans[n].first_word;
    entity.end_word = spans[n].end_word;
    entity.score = probabilities[n];
    entities.push_back(std::move(entity));
  }
  return entities;
}

absl::StatusOr<std::vector<Entity>> DecodeEntities(std::string_view text, std::span<const Word> words,
                                                   const TagSet& tags, std::span<const float> logits) {
  if (logits.size() != words.size() * tags.size()) {
    return absl::InternalError(
        absl::StrCat(logits.size(), " logits for ", words.size(), " words and ", tags.size(), " tags"));
  }
  const std::vector<float> log_probabilities = LogSoftmaxRows(logits, tags.size());
  ENGRAM_ASSIGN_OR_RETURN(const ViterbiPath path, Viterbi(tags, log_probabilities));
  const std::vector<TagSpan> spans = TagsToSpans(tags, path.tags);
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<double> probabilities, EntityProbabilities(tags, log_probabilities, spans));
  return LocateEntities(text, words, tags, spans, probabilities);
}

}  // namespace engram::tagging
