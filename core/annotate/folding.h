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
class FoldedText {
 public:
  explicit FoldedText(std::string_view text);
  // Whether the text is UTF-8; if it is not, nothing else here means anything.
  bool valid() const { return valid_; }
  bool ascii() const { return ascii_; }
  const std::string& bytes() const { return bytes_; }
  // The byte of the text at which the character at `folded_byte` begins.
  size_t Original(size_t folded_byte) const;

 private:
  std::string bytes_;
  bool valid_ = true, ascii_ = true;
  // Where the distance changes: from this folded byte on, original = folded + distance.
  std::vector<std::pair<size_t, ptrdiff_t>> shifts_;
};

}  // namespace engram::annotate
