#include "core/web/charset.h"

#include <uchardet/uchardet.h>
#include <unicode/ucnv.h>
#include <unicode/ucnv_err.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/utf8.h"

namespace engram::web {
namespace {

constexpr size_t kMetaBytes = 1024;
constexpr size_t kDetectedBytes = size_t{64} << 10;  // that uchardet looks at

struct Encoding {
  std::string_view name;
  const char* converter;    // ICU's
  std::string_view labels;  // with spaces between and around them
};
// WHATWG's table (encoding.spec.whatwg.org, 4.2), with the converters of ICU that decode as it says.
constexpr Encoding kEncodings[] = {
    {"utf-8", "UTF-8", " unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf-8 utf8 x-unicode20utf8 "},
    {"ibm866", "ibm-866_P100-1995", " 866 cp866 csibm866 ibm866 "},
    {"iso-8859-2", "iso-8859-2",
     " csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin2 "},
    {"iso-8859-3", "iso-8859-3",
     " csisolatin3 iso-8859-3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 l3 latin3 "},
    {"iso-8859-4", "iso-8859-4",
     " csisolatin4 iso-8859-4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 l4 latin4 "},
    {"iso-8859-5", "iso-8859-5",
     " csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso8859-5 iso88595 iso_8859-5 iso_8859-5:1988 "},
    {"iso-8859-6", "iso-8859-6",
     " arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6 iso-8859-6-e iso-8859-6-i "
     "iso-ir-127 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987 "},
    {"iso-8859-7", "iso-8859-7",
     " csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 iso8859-7 iso88597 iso_8859-7 "
     "iso_8859-7:1987 sun_eu_greek "},
    {"iso-8859-8", "iso-8859-8",
     " csiso88598e csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-ir-138 iso8859-8 iso88598 iso_8859-8 "
     "iso_8859-8:1988 visual csiso88598i iso-8859-8-i logical "},
    {"iso-8859-10", "iso-8859-10", " csisolatin6 iso-8859-10 iso-ir-157 iso8859-10 iso885910 l6 latin6 "},
    {"iso-8859-13", "iso-8859-13", " iso-8859-13 iso8859-13 iso885913 "},
    {"iso-8859-14", "iso-8859-14", " iso-8859-14 iso8859-14 iso885914 "},
    {"iso-8859-15", "iso-8859-15", " csisolatin9 iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9 "},
    {"koi8-r", "koi8-r", " cskoi8r koi koi8 koi8-r koi8_r "},
    {"koi8-u", "koi8-u", " koi8-ru koi8-u "},
    {"macintosh", "macintosh", " csmacintosh mac macintosh x-mac-roman "},
    {"windows-874", "windows-874", " dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874 "},
    {"windows-1250", "windows-1250", " cp1250 windows-1250 x-cp1250 "},
    {"windows-1251", "windows-1251", " cp1251 windows-1251 x-cp1251 "},
    {"windows-1252", "windows-1252",
     " ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591 iso_8859-1 "
     "iso_8859-1:1987 l1 latin1 us-ascii windows-1252 x-cp1252 "},
    {"windows-1253", "windows-1253", " cp1253 windows-1253 x-cp1253 "},
    {"windows-1254", "windows-1254",
     " cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 l5 latin5 windows-1254 "
     "x-cp1254 "},
    {"windows-1255", "windows-1255", " cp1255 windows-1255 x-cp1255 "},
    {"windows-1256", "windows-1256", " cp1256 windows-1256 x-cp1256 "},
    {"windows-1257", "windows-1257", " cp1257 windows-1257 x-cp1257 "},
    {"windows-1258", "windows-1258", " cp1258 windows-1258 x-cp1258 "},
    {"x-mac-cyrillic", "x-mac-cyrillic", " x-mac-cyrillic x-mac-ukrainian "},
    {"gb18030", "gb18030", " gb18030 chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 gbk iso-ir-58 x-gbk "},
    {"big5", "Big5-HKSCS", " big5 big5-hkscs cn-big5 csbig5 x-x-big5 "},
    {"euc-jp", "EUC-JP", " cseucpkdfmtjapanese euc-jp x-euc-jp "},
    {"iso-2022-jp", "ISO-2022-JP", " csiso2022jp iso-2022-jp "},
    {"shift_jis", "windows-31j", " csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis "},
    {"euc-kr", "windows-949",
     " cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 windows-949 "},
    {"replacement", nullptr, " csiso2022kr hz-gb-2312 iso-2022-cn iso-2022-cn-ext iso-2022-kr replacement "},
    {"utf-16be", "UTF-16BE", " unicodefffe utf-16be "},
    {"utf-16le", "UTF-16LE", " csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16 utf-16le "},
};

const Encoding* Find(std::string_view label) {
  std::string wanted(label);
  absl::AsciiStrToLower(&wanted);
  absl::StripAsciiWhitespace(&wanted);
  if (wanted.empty() || wanted.find(' ') != std::string::npos) return nullptr;
  wanted = absl::StrCat(" ", wanted, " ");
  for (const Encoding& encoding : kEncodings) {
    if (encoding.labels.find(wanted) != std::string_view::npos) return &encoding;
  }
  return nullptr;
}

// What uchardet holds for most likely; nullptr if it has no idea, or one that is no encoding of the web.
const Encoding* Detect(std::string_view bytes) {
  const std::unique_ptr<uchardet, void (*)(uchardet*)> detector(uchardet_new(), uchardet_delete);
  const std::string_view looked = bytes.substr(0, kDetectedBytes);
  if (uchardet_handle_data(detector.get(), looked.data(), looked.size()) != 0) return nullptr;
  uchardet_data_end(detector.get());
  const Encoding* const found = Find(uchardet_get_charset(detector.get()));
  return found == nullptr || found->converter == nullptr ? nullptr : found;
}

// Counts, then does what ICU does by default: U+FFFD.
void CountReplaced(const void* context, UConverterToUnicodeArgs* arguments, const char* bytes, int32_t length,
                   UConverterCallbackReason reason, UErrorCode* error) {
  if (reason <= UCNV_IRREGULAR) ++*static_cast<int64_t*>(const_cast<void*>(context));
  UCNV_TO_U_CALLBACK_SUBSTITUTE(nullptr, arguments, bytes, length, reason, error);
}

absl::Status Convert(std::string_view bytes, const char* name, DecodedPage& out) {
  UErrorCode error = U_ZERO_ERROR;
  const std::unique_ptr<UConverter, void (*)(UConverter*)> converter(ucnv_open(name, &error), ucnv_close);
  if (U_FAILURE(error)) return absl::InternalError("a converter of characters is not there");
  ucnv_setToUCallBack(converter.get(), CountReplaced, &out.replaced, nullptr, nullptr, &error);
  std::vector<UChar> buffer(8192);
  const char* source = bytes.data();
  const char* const end = bytes.data() + bytes.size();
  char16_t high = 0;  // the first half of a character that a buffer's end cut
  do {
    error = U_ZERO_ERROR;
    UChar* target = buffer.data();
    ucnv_toUnicode(converter.get(), &target, buffer.data() + buffer.size(), &source, end, nullptr, true, &error);
    if (U_FAILURE(error) && error != U_BUFFER_OVERFLOW_ERROR)
      return absl::InternalError("characters cannot be converted");
    for (const UChar* at = buffer.data(); at != target; ++at) {
      const char16_t unit = *at;
      if (high != 0 && unit >= 0xDC00 && unit <= 0xDFFF) {
        AppendUtf8(0x10000 + ((high - 0xD800) << 10) + (unit - 0xDC00), out.text);
        high = 0;
      } else if (unit >= 0xD800 && unit <= 0xDBFF) {
        high = unit;
      } else {
        AppendUtf8(unit >= 0xDC00 && unit <= 0xDFFF ? 0xFFFD : unit, out.text);
      }
    }
  } while (error == U_BUFFER_OVERFLOW_ERROR);
  return absl::OkStatus();
}

absl::Status NotText(std::string_view why) {
  return StatusWithReason(absl::StatusCode::kInvalidArgument, "NOT_TEXT", why);
}

}  // namespace

std::string_view EncodingOf(std::string_view label) {
  const Encoding* const found = Find(label);
  return found == nullptr ? std::string_view() : found->name;
}

std::string CharsetParameter(std::string_view content_type) {
  std::string lower(content_type);
  absl::AsciiStrToLower(&lower);
  for (size_t at = lower.find("charset"); at != std::string::npos; at = lower.find("charset", at + 1)) {
    size_t i = at + 7;
    while (i < lower.size() && absl::ascii_isspace(static_cast<unsigned char>(lower[i]))) ++i;
    if (i >= lower.size() || lower[i] != '=') continue;
    ++i;
    while (i < lower.size() && absl::ascii_isspace(static_cast<unsigned char>(lower[i]))) ++i;
    if (i < lower.size() && (lower[i] == '"' || lower[i] == '\'')) {
      const size_t close = lower.find(lower[i], i + 1);
      return close == std::string::npos ? "" : lower.substr(i + 1, close - i - 1);
    }
    size_t end = i;
    // A quote ends the attribute that a <meta> has it in.
    while (end < lower.size() && std::string_view(";\"' \t\r\n\f").find(lower[end]) == std::string_view::npos) ++end;
    return lower.substr(i, end - i);
  }
  return "";
}

std::string MetaCharset(std::string_view bytes) {
  std::string head(bytes.substr(0, kMetaBytes));
  absl::AsciiStrToLower(&head);
  for (size_t at = 0; (at = head.find('<', at)) != std::string::npos; ++at) {
    if (head.compare(at, 4, "<!--") == 0) {
      const size_t close = head.find("-->", at + 2);
      if (close == std::string::npos) return "";
      at = close;
      continue;
    }
    if (head.compare(at, 5, "<meta") != 0 || at + 5 >= head.size() ||
        (!absl::ascii_isspace(static_cast<unsigned char>(head[at + 5])) && head[at + 5] != '/'))
      continue;
    const size_t close = head.find('>', at);
    const std::string charset = CharsetParameter(head.substr(at + 5, close - at - 5));
    const std::string_view encoding = EncodingOf(charset);
    if (encoding.empty()) continue;
    // A page whose ASCII could be read is in no UTF-16, whatever it says.
    return absl::StartsWith(AbslView(encoding), "utf-16") ? "utf-8" : std::string(encoding);
  }
  return "";
}

absl::StatusOr<DecodedPage> DecodePage(std::string_view bytes, std::string_view declared, bool html) {
  DecodedPage out;
  const Encoding* encoding = nullptr;
  const auto starts = [&](std::string_view mark) { return bytes.substr(0, mark.size()) == mark; };
  if (starts("\xEF\xBB\xBF")) {
    encoding = Find("utf-8");
    bytes.remove_prefix(3);
  } else if (starts("\xFE\xFF") || starts("\xFF\xFE")) {
    encoding = Find(bytes[0] == '\xFE' ? "utf-16be" : "utf-16le");
    bytes.remove_prefix(2);
  }
  if (encoding == nullptr) encoding = Find(declared);
  if (encoding == nullptr && html) encoding = Find(MetaCharset(bytes));
  if (encoding == nullptr) {
    if (bytes.substr(0, kMetaBytes).find('\0') != std::string_view::npos)
      return NotText("it holds zeros, as no text does; it may be a picture, a PDF or an archive");
    if (!FindInvalidUtf8(bytes)) encoding = Find("utf-8");
  }
  if (encoding == nullptr) encoding = Detect(bytes);
  if (encoding == nullptr) encoding = Find("windows-1252");
  if (encoding->converter == nullptr) return NotText("its charset is one that browsers refuse");
  out.charset = encoding->name;
  if (out.charset == "utf-8" && !FindInvalidUtf8(bytes)) {
    out.text = bytes;
    return out;
  }
  ENGRAM_RETURN_IF_ERROR(Convert(bytes, encoding->converter, out));
  return out;
}

}  // namespace engram::web
