#pragma once

// Strict UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF).

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace engram {

// Decodes the code point that starts at text[at]; advances `at` past it. -1 (and `at` unchanged) if the bytes there are
// no valid code point. Requires at < text.size().
int32_t DecodeUtf8(std::string_view text, size_t& at);

// The index of the first byte that is not valid UTF-8; nullopt if all is.
std::optional<size_t> FindInvalidUtf8(std::string_view text);

// Appends the encoding of a valid code point.
void AppendUtf8(int32_t code_point, std::string& out);

// Number of code points of valid UTF-8.
int64_t CountCodePoints(std::string_view text);

// The longest prefix of at most that many bytes that ends between code points: what an error message shows of a text
// must be UTF-8 itself, or protobuf does not take the message.
std::string_view CutUtf8(std::string_view text, size_t max_bytes);

}  // namespace engram
