#include "client/term_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace engram::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TermList Parse(const std::string& bytes, const std::string& label = "") {
  return ParseTermList(bytes, /*json_lines=*/false, label, /*case_sensitive=*/false);
}
TermList ParseJson(const std::string& bytes) { return ParseTermList(bytes, true, "", false); }

TEST(TermList, LinesAreTermsWithLabels) {
  const TermList list = Parse("\xEF\xBB\xBF New York \tLOC\r\n\n  \nGo\tLANGUAGE, GAME\tcase\rC#\tLANGUAGE");
  ASSERT_EQ(list.error, "");
  ASSERT_EQ(list.terms.size(), 3u);
  EXPECT_EQ(list.terms[0].text(), "New York");
  EXPECT_THAT(list.terms[0].labels(), ElementsAre("LOC"));
  EXPECT_FALSE(list.terms[0].case_sensitive());
  EXPECT_THAT(list.terms[1].labels(), ElementsAre("LANGUAGE", "GAME"));
  EXPECT_TRUE(list.terms[1].case_sensitive());
  EXPECT_EQ(list.terms[2].text(), "C#");
}

TEST(TermList, OneLabelMayStandForAll) {
  const TermList list = Parse("TensorFlow\nGoogle\tORG\n", "TERMINOLOGY");
  ASSERT_EQ(list.error, "");
  EXPECT_THAT(list.terms[0].labels(), ElementsAre("TERMINOLOGY"));
  EXPECT_THAT(list.terms[1].labels(), ElementsAre("ORG"));
  EXPECT_THAT(Parse("TensorFlow\nGoogle\tORG\n").error, HasSubstr("line 1 of the list has no label"));
}

TEST(TermList, WhatIsRepeatedIsCountedAndLeftOut) {
  const TermList list = Parse("a\tX\na\tY\na \tX\na\tX\tcase\n");
  EXPECT_EQ(list.terms.size(), 3u);
  EXPECT_EQ(list.repeated, 1);
}

TEST(TermList, JsonLinesAreRead) {
  const TermList list = ParseJson(R"({"text": "A\tb", "labels": ["X", "Y"], "case_sensitive": true}
{"term": "c", "label": "X"})");
  ASSERT_EQ(list.error, "");
  EXPECT_EQ(list.terms[0].text(), "A\tb");
  EXPECT_TRUE(list.terms[0].case_sensitive());
  EXPECT_THAT(list.terms[1].labels(), ElementsAre("X"));
  EXPECT_THAT(ParseJson("{\"text\": \"a\", \"labels\": \"X\"}").error, HasSubstr("\"labels\""));
  EXPECT_THAT(ParseJson("{\"text\": \"a\", \"tag\": \"X\"}").error, HasSubstr("\"tag\""));
  EXPECT_THAT(ParseJson("[1]").error, HasSubstr("line 1"));
}

TEST(TermList, WrongLinesAreNamed) {
  EXPECT_THAT(Parse("a\tX\n" + std::string(1 << 20, 'a') + "\tX").error, HasSubstr("line 2"));
  EXPECT_THAT(Parse("a\tX\n\xff\tX").error, HasSubstr("line 2"));
  EXPECT_THAT(Parse("a\tX\n\tX").error, HasSubstr("line 2"));
  EXPECT_THAT(Parse("a\tX\tCase").error, HasSubstr("line 1"));
  EXPECT_THAT(Parse("a\tX\tcase\tmore").error, HasSubstr("4 columns"));
  EXPECT_THAT(Parse(std::string("\xFF\xFE\x61\x00", 4)).error, HasSubstr("UTF-16"));
  EXPECT_THAT(Parse("\n \n").error, HasSubstr("no term"));
}

}  // namespace
}  // namespace engram::client
