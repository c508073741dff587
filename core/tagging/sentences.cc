#include "core/tagging/sentences.h"

#include <unicode/brkiter.h>
#include <unicode/filteredbrk.h>
#include <unicode/locid.h>
#include <unicode/utext.h>

#include <memory>

#include "absl/strings/str_cat.h"

namespace engram::tagging {
namespace {

// Cloned by each call, for making one reads the list of abbreviations.
absl::StatusOr<std::unique_ptr<icu::BreakIterator>> MakeIterator() {
  static const std::unique_ptr<const icu::BreakIterator> prototype = []() -> std::unique_ptr<const icu::BreakIterator> {
    UErrorCode status = U_ZERO_ERROR;
    const icu::Locale& english = icu::Locale::getEnglish();
    std::unique_ptr<icu::BreakIterator> plain(icu::BreakIterator::createSentenceInstance(english, status));
    std::unique_ptr<icu::FilteredBreakIteratorBuilder> builder(
        icu::FilteredBreakIteratorBuilder::createInstance(english, status));
    if (U_FAILURE(status)) return nullptr;
    std::unique_ptr<icu::BreakIterator> made(builder->wrapIteratorWithFilter(plain.release(), status));
    return U_FAILURE(status) ? nullptr : std::move(made);
  }();
  if (prototype == nullptr) return absl::InternalError("ICU has no rules for sentences: its data is not installed");
  std::unique_ptr<icu::BreakIterator> iterator(prototype->clone());
  if (iterator == nullptr) return absl::InternalError("ICU gives no iterator over sentences");
  return iterator;
}

// The bytes at which a sentence ends and the next one begins, ascending.
absl::StatusOr<std::vector<int64_t>> Borders(std::string_view text) {
  ENGRAM_ASSIGN_OR_RETURN(const std::unique_ptr<icu::BreakIterator> iterator, MakeIterator());
  UErrorCode status = U_ZERO_ERROR;
  UText view = UTEXT_INITIALIZER;
  utext_openUTF8(&view, text.data(), static_cast<int64_t>(text.size()), &status);
  iterator->setText(&view, status);
  std::vector<int64_t> borders;
  if (U_SUCCESS(status)) {
    iterator->first();
    for (int32_t at = iterator->next(); at != icu::BreakIterator::DONE; at = iterator->next()) borders.push_back(at);
  }
  utext_close(&view);
  if (U_FAILURE(status)) return absl::InternalError(absl::StrCat("ICU finds no sentences: ", u_errorName(status)));
  return borders;
}

}  // namespace

absl::StatusOr<std::vector<SentenceOfWords>> FindSentences(std::string_view text, std::span<const Word> words,
                                                           std::span<const Entity> entities) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<int64_t> borders, Borders(text));
  std::vector<SentenceOfWords> sentences;
  auto border = borders.begin();
  auto entity = entities.begin();
  for (int32_t i = 0; i < static_cast<int32_t>(words.size()); ++i) {
    bool begins = i == 0;
    for (; border != borders.end() && *border <= words[static_cast<size_t>(i)].start_byte; ++border) begins = true;
    while (entity != entities.end() && entity->end_word <= i) ++entity;
    const bool inside = entity != entities.end() && entity->first_word < i;
    if (begins && !inside) sentences.push_back({i, i});
    sentences.back().end_word = i + 1;
  }
  return sentences;
}

}  // namespace engram::tagging
