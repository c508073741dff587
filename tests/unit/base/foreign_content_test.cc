#include "core/base/foreign_content.h"

#include <string>

#include "core/base/strict_json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram {
namespace {

using std::string_literals::operator""s;
using ::testing::HasSubstr;

std::string Kind(const std::string& bytes) { return std::string(ForeignContent(bytes).value_or("")); }

TEST(ForeignContent, IsNamed) {
  EXPECT_THAT(Kind("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"), HasSubstr("Git LFS"));
  EXPECT_THAT(Kind("\xEF\xBB\xBF\r\n<!doctype HTML><title>Sign in</title>"), HasSubstr("web page"));
  EXPECT_THAT(Kind("<HTML lang=en>"), HasSubstr("web page"));
  EXPECT_THAT(Kind("<?xml version=\"1.0\"?><html>"), HasSubstr("web page"));
  EXPECT_THAT(Kind("<?xml version=\"1.0\"?><corpus>"), HasSubstr("XML"));
  EXPECT_THAT(Kind("PAR1\x15\0"s), HasSubstr("Parquet"));
  EXPECT_THAT(Kind("PK\x03\x04\x14\0"s), HasSubstr(".xlsx"));
  EXPECT_THAT(Kind("BZh91AY&SY\xE9\x01\x02\x03\x04"s), HasSubstr("bzip2"));
  // pickle.dumps([{"text": "a"}], protocol) of Python, for each protocol, and torch.save({}).
  EXPECT_THAT(Kind("(lp0\n(dp1\nVtext\np2\nVa\np3\nsa."s), HasSubstr("pickle"));
  EXPECT_THAT(Kind("]q\0}q\x01X\x04\0\0\0textq\x02X\x01\0\0\0aq\x03sa."s), HasSubstr("pickle"));
  for (const char protocol : {'\x02', '\x03'}) {
    EXPECT_THAT(Kind("\x80"s + protocol + "]q\0}q\x01X\x04\0\0\0textq\x02X\x01\0\0\0aq\x03sa."s), HasSubstr("pickle"));
  }
  for (const char protocol : {'\x04', '\x05'}) {
    EXPECT_THAT(Kind("\x80"s + protocol +
                     "\x95\x14\0\0\0\0\0\0\0]\x94}\x94\x8c\x04text\x94\x8c\x01"
                     "a\x94sa."s),
                HasSubstr("pickle"));
  }
  EXPECT_THAT(Kind("PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\x12\0archive/data.pkl"s),
              HasSubstr("torch.save"));
  EXPECT_THAT(Kind("name"s + std::string(253, '\0') + "ustar\0"s), HasSubstr("tar archive"));
}

TEST(ForeignContent, TextIsNotForeign) {
  for (const std::string& text :
       {"{\"a\": 1}"s, "a,b\n1,2\n"s, "BZhang came"s, "PAR1S is a typo"s, "Rar!"s, ""s, " \n"s,
        "versions of https://git-lfs.github.com/spec/"s, "<b>bold</b>"s, "(lp0 is a word)"s, "]q"s, "(dp"s}) {
    EXPECT_EQ(Kind(text), "") << text;
  }
  // A character that the first kilobyte cuts does not make a text binary.
  EXPECT_EQ(Kind("BZh" + std::string(1020, 'a') + "\u00e9"), "");
}

TEST(ForeignContent, AnObjectThatIsNoneIsNamed) {
  const absl::Status status = ParseStrictObject("<!DOCTYPE html>\n", "config.json").status();
  EXPECT_EQ(StatusField(status), "config.json");
  EXPECT_THAT(std::string(status.message()), HasSubstr("is a web page"));
}

}  // namespace
}  // namespace engram
