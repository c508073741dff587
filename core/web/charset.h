#pragma once

// The bytes of a page as UTF-8, by the rules of WHATWG's Encoding and HTML standards.

#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/status.h"

namespace engram::web {

struct DecodedPage {
  std::string text;     // UTF-8, without a byte-order mark
  std::string charset;  // lower case: "utf-8", "windows-1252", ...
  // What could not be decoded became U+FFFD; how often.
  int64_t replaced = 0;
};

// The charset is the first of: a byte-order mark; `declared` (of the HTTP header, may be empty); for HTML a <meta> in
// the first 1024 bytes; UTF-8 if the bytes are; what uchardet finds; windows-1252. Labels mean what WHATWG says
// ("iso-8859-1" is windows-1252, "gb2312" gb18030). A label that is unknown is passed over. Bytes that begin with zeros
// as no text does: INVALID_ARGUMENT with reason NOT_TEXT; also for encodings that browsers refuse (hz, iso-2022-kr).
absl::StatusOr<DecodedPage> DecodePage(std::string_view bytes, std::string_view declared, bool html);

// The name of the encoding that a label stands for; empty if WHATWG knows none.
std::string_view EncodingOf(std::string_view label);

// The charset parameter of a Content-Type; empty if there is none.
std::string CharsetParameter(std::string_view content_type);
// The charset that a page says of itself within its first 1024 bytes; empty if none.
std::string MetaCharset(std::string_view bytes);

}  // namespace engram::web
