#pragma once

// WordPiece as BERT uses it: normalize, split, greedy longest match; words of more than 100 characters, and words with
// a part that the vocabulary does not have, are one unknown token.

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/tokenize/added_tokens.h"
#include "core/tokenize/bert_normalizer.h"
#include "core/tokenize/framed_tokenizer.h"
#include "core/tokenize/tokenizer.h"
#include "core/tokenize/vocabulary.h"

namespace engram::tokenize {

struct BertTokenizerOptions {
  BertNormalizerOptions normalizer;
  std::string unknown = "[UNK]", cls = "[CLS]", sep = "[SEP]", pad = "[PAD]", mask = "[MASK]";
  std::string continuation_prefix = "##";
  int64_t max_characters_per_word = 100;
  // Found in texts, in the order in which they were added. One that the vocabulary has carries its id there; the others
  // carry the ids behind it, without holes.
  std::vector<AddedToken> added;
  bool split_special_tokens = false;  // special tokens in a text are plain text, unless EncodeOptions say otherwise
  std::optional<Template> frame;      // nullopt: BERT's, of cls and sep
};

class BertTokenizer final : public FramedTokenizer {
 public:
  // INVALID_ARGUMENT if the vocabulary and the added tokens lack the unknown, cls or sep token, if one of them is empty,
  // and for an added token with another id than it must have.
  static absl::StatusOr<std::unique_ptr<BertTokenizer>> Create(std::vector<std::string> vocabulary,
                                                               const BertTokenizerOptions& options);

  int32_t vocabulary_size() const override { return vocabulary_.size(); }
  bool lowercases() const override { return options_.normalizer.lowercase; }
  std::string_view IdToToken(int32_t id) const override { return vocabulary_.Token(id); }
  int32_t TokenToId(std::string_view token) const override { return vocabulary_.Find(token); }

 private:
  BertTokenizer(Vocabulary vocabulary, BertTokenizerOptions options)
      : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {}

  absl::Status AppendText(std::string_view text, const EncodeOptions& options, bool word, Encoding& out) const override;
  absl::Status CheckSpecialTokens() const;
  // A part of a text without added tokens that are found as they stand. `offset`: bytes (begin) and code points (end)
  // before it in the original.
  void AppendPlain(std::string_view text, Range offset, bool split_special, int32_t& words, Encoding& out) const;
  void AppendWord(const NormalizedText& word, Range offset, int32_t word_index, Encoding& out) const;

  Vocabulary vocabulary_;
  BertTokenizerOptions options_;
  AddedTokens added_;
};

}  // namespace engram::tokenize
