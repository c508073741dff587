#pragma once

// Where a term may begin and end in a text. Pure functions, thread-safe.

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace engram::annotate {

// Letters, digits, marks and "_" of any script.
bool IsWordCharacter(int32_t code_point);

// Whether words may be told apart at byte `at` of valid UTF-8, which must be the beginning of a character or the end:
// there unless word characters stand on both sides. Between characters of scripts that put no space between words (Han,
// kana, Thai, Lao, Khmer, Burmese) every place is one, but none is between a character and its marks.
bool IsWordBorder(std::string_view text, size_t at);

}  // namespace engram::annotate
