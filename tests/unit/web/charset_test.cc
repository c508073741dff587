#include "core/web/charset.h"

#include <gtest/gtest.h>

#include <string>

#include "core/base/status.h"

namespace engram::web {
namespace {

DecodedPage Decode(const std::string& bytes, const std::string& declared = "", bool html = true) {
  absl::StatusOr<DecodedPage> page = DecodePage(bytes, declared, html);
  EXPECT_TRUE(page.ok()) << page.status();
  return page.ok() ? *std::move(page) : DecodedPage();
}

TEST(Charset, TheFirstThatIsKnownDecides) {
  const std::string meta = "<meta charset='windows-1251'>\xEF";  // п
  EXPECT_EQ(Decode(meta).text.substr(meta.size() - 1), "\u043F");
  EXPECT_EQ(Decode(meta, "iso-8859-1").text.substr(meta.size() - 1), "\u00EF");
  EXPECT_EQ(Decode(meta, "no-such-charset").charset, "windows-1251");
  EXPECT_EQ(Decode("\xEF\xBB\xBF" + std::string("\u00E4"), "windows-1251").text, "\u00E4");
  EXPECT_EQ(Decode(std::string("\xFF\xFE\xE4\x00", 4), "utf-8").text, "\u00E4");
  EXPECT_EQ(Decode(std::string("\xFE\xFF\xD8\x3D\xDE\x00", 6)).text, "\U0001F600");
  EXPECT_EQ(Decode("gr\u00FCn").charset, "utf-8");
}

TEST(Charset, LabelsMeanWhatBrowsersTakeThemFor) {
  EXPECT_EQ(EncodingOf("ISO-8859-1"), "windows-1252");
  EXPECT_EQ(EncodingOf(" ascii "), "windows-1252");
  EXPECT_EQ(EncodingOf("gb2312"), "gb18030");
  EXPECT_EQ(EncodingOf("gbk"), "gb18030");
  EXPECT_EQ(EncodingOf("x-sjis"), "shift_jis");
  EXPECT_EQ(EncodingOf("utf-16"), "utf-16le");
  EXPECT_EQ(EncodingOf("iso-8859-9"), "windows-1254");
  EXPECT_EQ(EncodingOf("utf-7"), "");
  EXPECT_EQ(Decode("\x80\x93", "iso-8859-1").text, "\u20AC\u201C");
  EXPECT_EQ(Decode("\x93\xFA\x96\x7B", "shift_jis").text, "\u65E5\u672C");
  EXPECT_EQ(Decode("\xC4\xE3", "gb2312").text, "\u4F60");
  EXPECT_EQ(Decode("\xB0\xA1", "euc-kr").text, "\uAC00");
}

TEST(Charset, WhatIsBrokenIsReplacedAndCounted) {
  const DecodedPage page = Decode(
      "a\xFF"
      "b\xE4\xB8",
      "utf-8");
  EXPECT_EQ(page.text,
            "a\uFFFD"
            "b\uFFFD");
  EXPECT_EQ(page.replaced, 2);
  EXPECT_EQ(Decode("fine", "utf-8").replaced, 0);
  // Longer than one buffer of the converter, with a pair of surrogates across its end.
  std::string text(8191, 'x');
  text += "\U0001F600";
  std::string expected = text;
  expected.append("\uFFFD");
  EXPECT_EQ(Decode(text.append("\xFF"), "utf-8").text, expected);
}

TEST(Charset, WhatIsNoTextIsRefused) {
  EXPECT_EQ(StatusReason(DecodePage(std::string("\x89PNG\0\0", 6), "", true).status()), "NOT_TEXT");
  EXPECT_EQ(StatusReason(DecodePage("x", "iso-2022-kr", true).status()), "NOT_TEXT");
}

TEST(Charset, APageSaysItsCharset) {
  EXPECT_EQ(MetaCharset("<META http-equiv=content-type content=\"text/html; charset=KOI8-R\">"), "koi8-r");
  EXPECT_EQ(MetaCharset("<!-- <meta charset=koi8-r> --><meta charset=\"utf-8\">"), "utf-8");
  EXPECT_EQ(MetaCharset("<meta charset=utf-16le>"), "utf-8");
  std::string late(1024, ' ');
  late.append("<meta charset=koi8-r>");
  EXPECT_EQ(MetaCharset(late), "");
  EXPECT_EQ(MetaCharset("<metadata charset=koi8-r>"), "");
  EXPECT_EQ(CharsetParameter("text/html; Charset=\"UTF-8\"; x=y"), "utf-8");
  EXPECT_EQ(CharsetParameter("text/html"), "");
  EXPECT_EQ(CharsetParameter("text/html; charset=utf-8;x"), "utf-8");
}

}  // namespace
}  // namespace engram::web
