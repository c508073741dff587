#pragma once

// Entities as spans of words, and where they lie in the text.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/tagging/bio.h"
#include "core/tagging/words.h"

namespace engram::tagging {

// Words [first_word, end_word) are one entity of type tags.types()[type].
struct TagSpan {
  int32_t first_word = 0;
  int32_t end_word = 0;
  int32_t type = 0;
  friend bool operator==(const TagSpan&, const TagSpan&) = default;
  friend auto operator<=>(const TagSpan&, const TagSpan&) = default;
};

// How ill-formed sequences are read. kLenient is conlleval's and seqeval's default: an I-x that does not continue an
// entity of type x begins one. kStrict is seqeval's strict IOB2: such an I-x belongs to no entity. The same for legal
// sequences, so for all that Viterbi returns.
enum class SpanReading { kLenient, kStrict };

// Spans in the order of the text; they never overlap. Tag ids must be of `tags`, or TagSet::kNone for a word without one.
std::vector<TagSpan> TagsToSpans(const TagSet& tags, std::span<const int32_t> sequence,
                                 SpanReading reading = SpanReading::kLenient);

// The inverse: the tags of `words` words as the set's reading writes them (kNone outside of all spans where the set has
// no O). INVALID_ARGUMENT for a span that is empty, outside the words, of an unknown type, of a length that the set has
// no tags for, or that overlaps another. Spans of kIob1 must be in the order of the text.
absl::StatusOr<std::vector<int32_t>> SpansToTags(const TagSet& tags, std::span<const TagSpan> spans, int32_t words);

// The tags of a sentence in BIO2, as data sets are stored, as ids of a tagger of any reading; kNone for kMissingTag.
// INVALID_ARGUMENT (field "rows") for a tag that is none or of a type that the tagger does not have, and as SpansToTags.
absl::StatusOr<std::vector<int32_t>> IdsOfBio2(const TagSet& tags, std::span<const std::string> bio2);

// An entity of a text.
struct Entity {
  std::string type;
  std::string text;            // as it stands in the text, from the first word's beginning to the last word's end
  int64_t start = 0, end = 0;  // code points of the text, end exclusive
  int64_t start_byte = 0, end_byte = 0;  // the same in UTF-8 bytes
  int32_t first_word = 0, end_word = 0;
  double score = 0;  // EntityProbabilities' value
};

// `words` as SplitWords(text) gave them; `probabilities` one a span.
std::vector<Entity> LocateEntities(std::string_view text, std::span<const Word> words, const TagSet& tags,
                                   std::span<const TagSpan> spans, std::span<const double> probabilities);

// From the tagger's logits to entities: log softmax, Viterbi, spans, probabilities. `logits` [words, K] row-major.
absl::StatusOr<std::vector<Entity>> DecodeEntities(std::string_view text, std::span<const Word> words,
                                                   const TagSet& tags, std::span<const float> logits);

}  // namespace engram::tagging
