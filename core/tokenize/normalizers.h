#pragma once

// The normalizers of tokenizer.json that byte-level BPE, Unigram and SentencePiece tokenizers use, each as
// huggingface/tokenizers does it, places in the original included.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/tokenize/aligned_text.h"

namespace engram::tokenize {

// Immutable and thread-safe.
class TextNormalizer {
 public:
  virtual ~TextNormalizer() = default;
  virtual void Apply(AlignedText& text) const = 0;
  virtual bool lowercases() const { return false; }
};

std::unique_ptr<TextNormalizer> MakeCanonicalNormalizer(bool compose);  // NFC, NFD
std::unique_ptr<TextNormalizer> MakeLowercaseNormalizer();
// Puts `what` before every text that is not empty.
std::unique_ptr<TextNormalizer> MakePrependNormalizer(std::string what);
// `what` (one character) becomes `with`; runs: instead, each run of two or more of it becomes one `with`.
std::unique_ptr<TextNormalizer> MakeReplaceNormalizer(std::string what, std::string with, bool runs);
std::unique_ptr<TextNormalizer> MakeStripNormalizer(bool left, bool right);
// SentencePiece's map of characters, decoded: the size of a double-array trie, its units, and the texts that it points
// to, each ended by a zero byte. INVALID_ARGUMENT for one that points outside itself.
absl::StatusOr<std::unique_ptr<TextNormalizer>> MakePrecompiledNormalizer(std::string_view charsmap);

}  // namespace engram::tokenize
