#include "core/annotate/folding.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <cstdint>

#include "core/base/utf8.h"

namespace engram::annotate {

FoldedText::FoldedText(std::string_view text) {
  bytes_.reserve(text.size());
  ptrdiff_t distance = 0;
  for (size_t at = 0; at < text.size();) {
    const auto c = static_cast<unsigned char>(text[at]);
    if (c < 0x80) {
      bytes_ += static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
      ++at;
      continue;
    }
    const int32_t code_point = DecodeUtf8(text, at);
    AppendUtf8(u_foldCase(code_point, U_FOLD_CASE_DEFAULT), bytes_);
    const ptrdiff_t now = static_cast<ptrdiff_t>(at) - static_cast<ptrdiff_t>(bytes_.size());
    if (now != distance) shifts_.emplace_back(bytes_.size(), distance = now);
  }
}

size_t FoldedText::Original(size_t folded_byte) const {
  const auto after = std::upper_bound(shifts_.begin(), shifts_.end(), folded_byte,
                                      [](size_t byte, const auto& shift) { return byte < shift.first; });
  return folded_byte + static_cast<size_t>(after == shifts_.begin() ? 0 : std::prev(after)->second);
}

}  // namespace engram::annotate
