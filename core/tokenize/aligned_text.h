#pragma once

// A text made of another one, with the place in the original that each of its bytes came from: what NormalizedString is
// in huggingface/tokenizers, its rules for places included.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tokenize/tokenizer.h"

namespace engram::tokenize {

struct AlignedText {
  std::string text;  // UTF-8
  // Of each byte the bytes of the original character that it came from. Empty: `text` is the original behind `lead` bytes
  // that share the place of its first character.
  std::vector<Range> sources;
  uint32_t lead = 0;

  // The place of the text's bytes [begin, end), which are not empty, widened to whole characters.
  Range Source(size_t begin, size_t end) const;
  // Puts `what` before a text that is not empty; it shares the place of the first character.
  void Prepend(std::string_view what);
};

// Writes the text that `in` becomes, character by character.
class AlignedWriter {
 public:
  // `in` must outlive the writer.
  explicit AlignedWriter(const AlignedText& in) : in_(in) { out_.text.reserve(in.text.size()); }

  // The next character. change 0: in place of the next one of `in`; 1: inserted behind the one before it, whose place it
  // shares; -n: in place of the next one of `in`, and the n behind that one are dropped.
  void Push(int32_t c, int change) {
    Flush();
    pending_ = {c, change};
  }
  // Adds to the change of the character that was pushed last; nothing if there is none.
  void Amend(int change) {
    if (pending_) pending_->second += change;
  }
  // One that keeps its own place [begin, end) of `in`.
  void Keep(size_t begin, size_t end);
  // Characters that are put in place of [begin, end) of `in`; they share the place of its last byte.
  void Replace(size_t end, std::string_view what);
  AlignedText Take() &&;

 private:
  void Flush();
  Range SourceOf(size_t byte) const { return in_.Source(byte, byte + 1); }

  const AlignedText& in_;
  AlignedText out_;
  size_t at_ = 0;  // bytes of `in` that are used up
  std::optional<std::pair<int32_t, int>> pending_;
};

}  // namespace engram::tokenize
