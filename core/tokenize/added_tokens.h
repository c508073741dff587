#pragma once

// Added tokens: texts that a tokenizer finds in its input before anything else happens to it, and which become one token
// each. Found as huggingface/tokenizers finds them (AddedVocabulary): of those that begin first the longest; tokens with
// `normalized` in the normalized text, the others before them in the original one.

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/tokenize/vocabulary.h"

namespace engram::tokenize {

struct AddedToken {
  int64_t id = 0;
  std::string content;
  bool special = true;       // text that spells it is plain text where special tokens are split
  bool single_word = false;  // not next to a word character
  bool lstrip = false;       // takes the white space before it, too
  bool rstrip = false;       // takes the white space behind it, too
  bool normalized = false;   // is found in the normalized text, by its normalized content

  friend bool operator==(const AddedToken&, const AddedToken&) = default;
};

inline constexpr size_t kMaxAddedTokenBytes = 1024;

// Immutable after it is made, thread-safe.
class AddedTokens {
 public:
  // A part of a text: one added token, or with kText what lies between them.
  static constexpr int32_t kText = -1;
  struct Part {
    size_t begin = 0, end = 0;  // bytes
    int32_t id = kText;
    friend bool operator==(const Part&, const Part&) = default;
  };

  // What a token's content becomes in normalized text.
  using Normalize = std::function<std::string(const std::string&)>;

  AddedTokens() = default;
  // `tokens` in the order in which they were added: of two that normalize alike the first is found. INVALID_ARGUMENT for
  // field "added_tokens" if a content is empty, longer than kMaxAddedTokenBytes, there twice, or normalizes to nothing.
  static absl::StatusOr<AddedTokens> Create(std::vector<AddedToken> tokens, const Normalize& normalize);

  // The parts of a text, in its order, none of them empty. A token that takes white space may overlap the one before it,
  // as in the reference. `normalized`: `text` is normalized text, and the tokens with that flag are looked for.
  // `split_special`: special tokens are text. O(bytes of the text * bytes of the longest token).
  std::vector<Part> Split(std::string_view text, bool normalized, bool split_special) const;
  bool any_normalized() const { return normalized_.has_value(); }

 private:
  struct Pattern {
    Vocabulary contents;
    std::vector<size_t> tokens;  // index into tokens_, by the content's number
    std::array<bool, 256> begins{};
  };
  static absl::StatusOr<std::optional<Pattern>> MakePattern(std::vector<std::string> contents,
                                                            std::vector<size_t> tokens);

  std::vector<AddedToken> tokens_;
  std::optional<Pattern> plain_, normalized_;
};

}  // namespace engram::tokenize
