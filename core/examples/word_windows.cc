#include "core/examples/word_windows.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/tagging/windows.h"

namespace engram::examples {
namespace {

absl::StatusOr<WordWindow> EncodeWindow(std::span<const std::string_view> words, const tagging::WordWindow& plan,
                                        int64_t max_length, const tokenize::Tokenizer& tokenizer,
                                        std::optional<bool> split_special_tokens) {
  tokenize::EncodeOptions options;
  options.split_special_tokens = split_special_tokens;
  options.max_length = max_length;
  options.truncation = tokenize::Truncation::kLongestFirst;  // acts only where plan.word_cut says so
  const auto first = static_cast<size_t>(plan.first_word), end = static_cast<size_t>(plan.end_word);
  ENGRAM_ASSIGN_OR_RETURN(tokenize::Encoding encoding,
                          tokenizer.EncodeWords(words.subspan(first, end - first), options));
  WordWindow window;
  int32_t previous = -1;
  for (size_t token = 0; token < encoding.words.size(); ++token) {
    const int32_t word = encoding.words[token];
    const bool first_token = word >= 0 && word != previous;
    previous = word;
    const int32_t in_text = word + plan.first_word;
    if (word < 0 || in_text < plan.first_owned || in_text >= plan.end_owned) continue;
    if (first_token) {
      window.rows.emplace_back(static_cast<int32_t>(token), in_text);
      window.pieces.push_back(0);
    }
    ++window.pieces.back();
  }
  window.ids = std::move(encoding.ids);
  return window;
}

}  // namespace

absl::StatusOr<WordWindows> EncodeWordWindows(std::span<const std::string_view> words, int64_t max_length,
                                              const tokenize::Tokenizer& tokenizer,
                                              std::optional<bool> split_special_tokens) {
  tokenize::EncodeOptions bare;
  bare.split_special_tokens = split_special_tokens;
  bare.add_special_tokens = false;
  ENGRAM_ASSIGN_OR_RETURN(tokenize::Encoding encoding, tokenizer.EncodeWords(words, bare));
  std::vector<int32_t> counts(words.size(), 0);
  for (const int32_t word : encoding.words) ++counts[static_cast<size_t>(word)];
  const auto budget = static_cast<int32_t>(max_length - tokenizer.frame().size());
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<tagging::WordWindow> plan,
                          tagging::PlanWordWindows(counts, budget, tagging::DefaultOverlap(budget)));
  WordWindows out;
  out.planned = static_cast<int32_t>(plan.size());
  out.ids = std::move(encoding.ids);
  for (const tagging::WordWindow& window : plan) {
    out.word_cut = out.word_cut || window.word_cut;
    if (window.tokens == 0) continue;
    ENGRAM_ASSIGN_OR_RETURN(WordWindow encoded,
                            EncodeWindow(words, window, max_length, tokenizer, split_special_tokens));
    out.windows.push_back(std::move(encoded));
  }
  return out;
}

WordLogits::WordLogits(size_t words, const tagging::TagSet& tags)
    : tags_(static_cast<size_t>(tags.size())),
      values_(words * tags_,
              tags.outside() == tagging::TagSet::kNone ? -std::numeric_limits<float>::infinity() : 0.0F) {
  if (tags.outside() == tagging::TagSet::kNone) return;
  constexpr float kCertain = 30;
  for (size_t word = 0; word < words; ++word) values_[word * tags_ + static_cast<size_t>(tags.outside())] = kCertain;
}

void WordLogits::Take(const WordRows& rows, const float* logits) {
  for (const auto& [token, word] : rows) {
    const float* row = logits + static_cast<size_t>(token) * tags_;
    std::copy(row, row + tags_, values_.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(word) * tags_));
  }
}

void WordLogits::Take(const WordRows& rows, std::span<const int32_t> pieces, tagging::Aggregation aggregation,
                      const float* logits) {
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto [token, word] = rows[i];
    tagging::AggregateTokens(aggregation,
                             {logits + static_cast<size_t>(token) * tags_, static_cast<size_t>(pieces[i]) * tags_},
                             std::span(values_).subspan(static_cast<size_t>(word) * tags_, tags_));
  }
}

}  // namespace engram::examples
