#pragma once

// Text without the difference of upper and lower case, and the way back to the places of the text.

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace engram::annotate {

// Unicode's simple case folding (CaseFolding.txt, C and S): one character for each character, so that every place of
// the folded text has one in the text. What only full folding makes equal ("ß" and "ss") stays apart.
// Not thread-safe; for one pass over one text.
class FoldedText {
 public:
  // `text` must be valid UTF-8, and outlive this.
  explicit FoldedText(std::string_view text);
  const std::string& bytes() const { return bytes_; }
  // The byte of the text at which the character at `folded_byte` begins.
  size_t Original(size_t folded_byte) const;

 private:
  std::string bytes_;
  // Where the distance changes: from this folded byte on, original = folded + distance.
  std::vector<std::pair<size_t, ptrdiff_t>> shifts_;
};

}  // namespace engram::annotate
