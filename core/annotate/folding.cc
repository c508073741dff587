#include "core/annotate/folding.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <cstdint>

#include "core/base/utf8.h"

namespace engram::annotate {

FoldedText::FoldedText(std::string_view text) {
  bytes_.resize(text.size());
  size_t length = 0;
  ptrdiff_t distance = 0;
  std::string folded;
  for (size_t at = 0; at < text.size();) {
    const auto c = static_cast<unsigned char>(text[at]);
    if (c < 0x80) {
      bytes_[length++] = static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
      ++at;
      continue;
    }
    ascii_ = false;
    const int32_t code_point = DecodeUtf8(text, at);
    if (code_point < 0) {
      valid_ = false;
      return;
    }
    folded.clear();
    AppendUtf8(u_foldCase(code_point, U_FOLD_CASE_DEFAULT), folded);
    // What is left of the text fits behind it, whatever this character grew by.
    if (length + folded.size() + (text.size() - at) > bytes_.size()) bytes_.resize(2 * bytes_.size() + 4);
    folded.copy(bytes_.data() + length, folded.size());
    length += folded.size();
    const ptrdiff_t now = static_cast<ptrdiff_t>(at) - static_cast<ptrdiff_t>(length);
    if (now != distance) shifts_.emplace_back(length, distance = now);
  }
  bytes_.resize(length);
}

size_t FoldedText::Original(size_t folded_byte) const {
  if (shifts_.empty()) return folded_byte;
  const auto after = std::upper_bound(shifts_.begin(), shifts_.end(), folded_byte,
                                      [](size_t byte, const auto& shift) { return byte < shift.first; });
  return folded_byte + static_cast<size_t>(after == shifts_.begin() ? 0 : std::prev(after)->second);
}

}  // namespace engram::annotate
