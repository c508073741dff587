#include "core/annotate/word_borders.h"

#include <unicode/uchar.h>
#include <unicode/uscript.h>

#include "absl/strings/ascii.h"
#include "core/base/utf8.h"

namespace engram::annotate {
namespace {

bool IsMark(int32_t c) {
  return c >= 0x300 && ((U_GET_GC_MASK(c) & U_GC_M_MASK) != 0 || c == 0x200D);  // joiner: within Indic words
}

// Scripts without spaces between words.
bool IsUnspaced(int32_t c) {
  if (c < 0xE00) return false;
  if (u_hasBinaryProperty(c, UCHAR_IDEOGRAPHIC)) return true;
  if (u_getIntPropertyValue(c, UCHAR_LINE_BREAK) == U_LB_COMPLEX_CONTEXT) return true;
  UErrorCode error = U_ZERO_ERROR;
  const UScriptCode script = uscript_getScript(c, &error);
  return script == USCRIPT_HIRAGANA || script == USCRIPT_KATAKANA;
}

int32_t CodePointBefore(std::string_view text, size_t at) {
  size_t start = at - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
  return DecodeUtf8(text, start);
}

}  // namespace

bool IsWordCharacter(int32_t c) {
  if (c < 0x80) return c >= 0 && (absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_');
  return u_isalnum(c) || IsMark(c);
}

bool IsWordBorder(std::string_view text, size_t at) {
  if (at == 0 || at >= text.size()) return true;
  const char left = text[at - 1], right = text[at];
  if (static_cast<unsigned char>(left) < 0x80 && static_cast<unsigned char>(right) < 0x80)
    return !IsWordCharacter(left) || !IsWordCharacter(right);
  const int32_t before = CodePointBefore(text, at);
  const int32_t after = DecodeUtf8(text, at);
  if (!IsWordCharacter(before) || !IsWordCharacter(after)) return true;
  return !IsMark(after) && (IsUnspaced(before) || IsUnspaced(after));
}

}  // namespace engram::annotate
