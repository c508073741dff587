#pragma once

// Text to token ids, with offsets into the original text. Equal to huggingface/tokenizers on every input that is tested
// (tests/parity/test_tokenizer.py), added and special tokens within the text included.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"

namespace engram::tokenize {

// A half-open range of the original text.
struct Range {
  uint32_t begin = 0, end = 0;
  friend bool operator==(const Range&, const Range&) = default;
};

// One tokenized text or pair; all vectors have one entry per token.
struct Encoding {
  std::vector<int32_t> ids, type_ids;
  std::vector<Range> bytes, code_points;  // {0, 0} for special tokens; of a pair's second text: into that text
  std::vector<uint8_t> special;           // 1: added by the template ([CLS], [SEP])
  std::vector<int32_t>
      words;  // index of the word (of the given words, or of the pieces between spaces and punctuation); -1: special
  int64_t full_tokens = 0;  // what the untruncated encoding would have, special tokens included
  bool truncated() const { return full_tokens > static_cast<int64_t>(ids.size()); }
};

enum class Truncation { kNone, kLongestFirst, kOnlyFirst, kOnlySecond };

struct EncodeOptions {
  bool add_special_tokens = true;
  int64_t max_length = 0;  // in tokens, special ones included; 0: no limit
  // kNone with a text over max_length: nothing is cut; the caller sees full_tokens.
  Truncation truncation = Truncation::kNone;
  // What a special token that the text spells ("[SEP]") becomes: false: the token; true: plain text (transformers'
  // split_special_tokens, tokenizers' encode_special_tokens), so that a text from outside cannot shape the model's input;
  // nullopt: what tokenizer_config.json says, and without it the token.
  std::optional<bool> split_special_tokens;
};

struct SpecialIds {
  int32_t cls = -1, sep = -1, pad = -1, unknown = -1, mask = -1;
};

// What the special tokens of a single text are: [CLS] before it, [SEP] after it.
struct TextFrame {
  std::vector<int32_t> before, after;

  int64_t size() const { return static_cast<int64_t>(before.size() + after.size()); }
  // `ids`: tokens that were made without special ones.
  std::vector<int32_t> Around(std::span<const int32_t> ids) const {
    std::vector<int32_t> framed = before;
    framed.insert(framed.end(), ids.begin(), ids.end());
    framed.insert(framed.end(), after.begin(), after.end());
    return framed;
  }
};

// Immutable and thread-safe. Time is linear in the text.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // INVALID_ARGUMENT naming the byte for text that is not UTF-8, and for options that cannot be met (a max_length
  // without room for the special tokens; only_first on a first text too short to give the tokens up).
  virtual absl::StatusOr<Encoding> Encode(std::string_view text, const EncodeOptions& options) const = 0;
  virtual absl::StatusOr<Encoding> EncodePair(std::string_view first, std::string_view second,
                                              const EncodeOptions& options) const = 0;
  // Words that are split already (named entities): `words` of the result index them, offsets are within each word.
  virtual absl::StatusOr<Encoding> EncodeWords(std::span<const std::string_view> words,
                                               const EncodeOptions& options) const = 0;

  virtual const SpecialIds& special_ids() const = 0;
  // What Encode adds to one text with add_special_tokens.
  virtual const TextFrame& frame() const = 0;
  virtual int32_t vocabulary_size() const = 0;
  // Whether texts are lower-cased before they are looked up.
  virtual bool lowercases() const = 0;
  // The token's text ("##ing"); empty for an id outside the vocabulary.
  virtual std::string_view IdToToken(int32_t id) const = 0;
  // -1 if there is none.
  virtual int32_t TokenToId(std::string_view token) const = 0;
};

// The contents of a tokenizer's files; nullopt for one that is not there.
struct TokenizerTexts {
  std::optional<std::string> tokenizer_json, vocabulary /* vocab.txt */, tokenizer_config, special_tokens_map,
      added_tokens;
};

// A tokenizer from tokenizer.json (WordPiece as BERT and MPNet use it; byte-level BPE as RoBERTa, ModernBERT, Llama 3 and
// Qwen; SentencePiece's BPE as Llama 2; Unigram as XLM-RoBERTa), or from vocab.txt with what tokenizer_config.json says.
// INVALID_ARGUMENT naming file and key for anything else, and for files that contradict each other.
absl::StatusOr<std::unique_ptr<Tokenizer>> ParseTokenizer(const TokenizerTexts& texts);
// The same for the files of a directory.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& directory);

}  // namespace engram::tokenize
