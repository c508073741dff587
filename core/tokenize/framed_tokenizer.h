#pragma once

// What tokenizers of every kind share: special tokens around a text or a pair, truncation, words that the caller gives.

#include <cstdint>
#include <string>
#include <vector>

#include "core/tokenize/tokenizer.h"

namespace engram::tokenize {

// Where the special tokens of a text and of a pair stand.
struct Template {
  struct Part {
    enum Kind : uint8_t { kFirst, kSecond, kSpecial };
    Kind kind = kFirst;
    int32_t id = -1;  // of a special token
    int32_t type = 0;
    friend bool operator==(const Part&, const Part&) = default;
  };
  std::vector<Part> single, pair;

  // [CLS] A [SEP], and [CLS] A [SEP] B [SEP] with type 1 for B.
  static Template Bert(int32_t cls, int32_t sep);
  // <s> A </s>, and <s> A </s> </s> B </s>, all of type 0.
  static Template Roberta(int32_t cls, int32_t sep);
  // No special tokens; type 1 for a second text.
  static Template None();
};

// INVALID_ARGUMENT for field "post_processor" unless a text stands once in `single`, each of two once and in order in
// `pair`, and `single` has type 0 alone.
absl::Status CheckTemplate(const Template& parts);

class FramedTokenizer : public Tokenizer {
 public:
  absl::StatusOr<Encoding> Encode(std::string_view text, const EncodeOptions& options) const final;
  absl::StatusOr<Encoding> EncodePair(std::string_view first, std::string_view second,
                                      const EncodeOptions& options) const final;
  absl::StatusOr<Encoding> EncodeWords(std::span<const std::string_view> words,
                                       const EncodeOptions& options) const final;
  const SpecialIds& special_ids() const final { return special_; }
  const TextFrame& frame() const final { return frame_; }

 protected:
  // The tokens of one text without special ones, appended: ids, offsets and words, counted from 0. `word`: the text is
  // one word of several.
  virtual absl::Status AppendText(std::string_view text, const EncodeOptions& options, bool word,
                                  Encoding& out) const = 0;
  // Requires a template that CheckTemplate takes. Once, before the first text.
  void SetFrame(Template parts, const SpecialIds& special);
  // INVALID_ARGUMENT for a text that is not UTF-8, or longer than 2 GiB.
  static absl::Status CheckText(std::string_view text);
  static void Push(Encoding& out, int32_t id, Range bytes, Range code_points, int32_t word);

 private:
  absl::StatusOr<Encoding> Assemble(const Encoding& first, const Encoding* second, const EncodeOptions& options) const;

  Template template_;
  SpecialIds special_;
  TextFrame frame_;
};

// Behind the model's own tokens those of `added` that it does not have. INVALID_ARGUMENT for field "added_tokens" for one
// with another id than huggingface/tokenizers gives it: that of the vocabulary, else the next free one.
struct AddedToken;
absl::Status AppendAdded(const std::vector<AddedToken>& added, std::vector<std::string>& vocabulary);

}  // namespace engram::tokenize
