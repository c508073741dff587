#pragma once

// WordPiece as BERT uses it: normalize, split, greedy longest match; words of more than 100 characters, and words with
// a part that the vocabulary does not have, are one unknown token.

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "core/tokenize/bert_normalizer.h"
#include "core/tokenize/tokenizer.h"
#include "core/tokenize/vocabulary.h"

namespace engram::tokenize {

struct BertTokenizerOptions {
  BertNormalizerOptions normalizer;
  std::string unknown = "[UNK]", cls = "[CLS]", sep = "[SEP]", pad = "[PAD]", mask = "[MASK]";
  std::string continuation_prefix = "##";
  int64_t max_characters_per_word = 100;
  std::vector<std::string> added_special;  // tokens of the vocabulary that are special beside the five above
};

class BertTokenizer final : public Tokenizer {
 public:
  // INVALID_ARGUMENT if the vocabulary lacks the unknown, cls or sep token, or an added one, and if one of them is
  // empty.
  static absl::StatusOr<std::unique_ptr<BertTokenizer>> Create(std::vector<std::string> vocabulary,
                                                               const BertTokenizerOptions& options);

  absl::StatusOr<Encoding> Encode(std::string_view text, const EncodeOptions& options) const override;
  absl::StatusOr<Encoding> EncodePair(std::string_view first, std::string_view second,
                                      const EncodeOptions& options) const override;
  absl::StatusOr<Encoding> EncodeWords(std::span<const std::string_view> words,
                                       const EncodeOptions& options) const override;
  const SpecialIds& special_ids() const override { return special_; }
  const TextFrame& frame() const override { return frame_; }
  int32_t vocabulary_size() const override { return vocabulary_.size(); }
  std::string_view IdToToken(int32_t id) const override { return vocabulary_.Token(id); }
  int32_t TokenToId(std::string_view token) const override { return vocabulary_.Find(token); }

 private:
  BertTokenizer(Vocabulary vocabulary, BertTokenizerOptions options)
      : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {}

  // The tokens of one text without special ones, appended.
  absl::Status AppendText(std::string_view text, bool special_tokens_in_text, Encoding& out) const;
  absl::Status CollectSpecialTokens();
  // The longest special token that `text` begins with; nullptr if there is none.
  const std::string* SpecialPrefix(std::string_view text) const;
  void AppendPlain(std::string_view text, Range offset, int32_t& words, Encoding& out) const;
  void AppendWord(const NormalizedWord& word, Range offset, int32_t word_index, Encoding& out) const;
  absl::StatusOr<Encoding> Assemble(Encoding first, const Encoding* second, const EncodeOptions& options) const;

  Vocabulary vocabulary_;
  BertTokenizerOptions options_;
  SpecialIds special_;
  TextFrame frame_;
  std::vector<std::string> special_tokens_;  // all of them, longest first
  std::array<bool, 256> begins_special_{};   // by first byte
};

}  // namespace engram::tokenize
