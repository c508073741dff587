#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/tagging/spans.h"
#include "core/tagging/words.h"

namespace engram::tagging {

// Words [first_word, end_word) are one sentence.
struct SentenceOfWords {
  int32_t first_word = 0, end_word = 0;
  friend bool operator==(const SentenceOfWords&, const SentenceOfWords&) = default;
};

// The sentences of a text by Unicode's rules (UAX #29) with the abbreviations of CLDR's English ("Mr." ends none), as ICU
// has them. Where one would end inside of an entity it does not: the two are one. Together they are all words, in order.
// `words` as SplitWords(text) gave them; `entities` in the order of the text. INTERNAL if ICU lacks its data. Linear time;
// thread-safe.
absl::StatusOr<std::vector<SentenceOfWords>> FindSentences(std::string_view text, std::span<const Word> words,
                                                           std::span<const Entity> entities);

}  // namespace engram::tagging
