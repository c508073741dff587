#include "core/tagging/spans.h"

#include "absl/strings/str_cat.h"
#include "core/tagging/viterbi.h"

namespace engram::tagging {

std::vector<TagSpan> TagsToSpans(const TagSet& tags, std::span<const int32_t> sequence, SpanReading reading) {
  std::vector<TagSpan> spans;
  bool open = false;  // spans.back() may still grow
  for (int32_t i = 0; i < static_cast<int32_t>(sequence.size()); ++i) {
    const int32_t tag = sequence[i], type = tags.type(tag);
    if (tags.prefix(tag) == TagPrefix::kOutside) {
      open = false;
    } else if (tags.prefix(tag) == TagPrefix::kInside && open && spans.back().type == type) {
      spans.back().end_word = i + 1;
    } else {
      open = tags.prefix(tag) == TagPrefix::kBegin || reading == SpanReading::kLenient;
      if (open) spans.push_back({i, i + 1, type});
    }
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
    if (span.end_word - span.first_word > 1 && tags.inside(span.type) == TagSet::kNone) {
      return InvalidField(
          absl::StrCat("entities[", n, "]"),
          absl::StrCat("has more than one word, and the tagger has no tag I-", tags.types()[span.type]));
    }
    for (int32_t i = span.first_word; i < span.end_word; ++i) {
      if (result[i] != tags.outside()) {
        return InvalidField(absl::StrCat("entities[", n, "]"),
                            "overlaps another entity; a word can have one label only");
      }
      result[i] = i == span.first_word ? tags.begin(span.type) : tags.inside(span.type);
    }
  }
  return result;
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
