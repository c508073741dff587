#include "core/base/strict_json.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram {
namespace {

using ::testing::HasSubstr;

std::string Refusal(const std::string& text) {
  return std::string(ParseStrictObject(text, "f.json").status().message());
}

TEST(ParseStrictObject, RefusesWhatALenientParserLetsPass) {
  EXPECT_EQ(Refusal(R"({"a":{"b":1},"c":{"b":2}})"), "");
  EXPECT_THAT(Refusal(R"({"a":1,"a":1})"), HasSubstr("f.json: the key \"a\" occurs twice"));
  EXPECT_THAT(Refusal(R"({"x":[{"a":1,"\u0061":1}]})"), HasSubstr("the key \"a\" occurs twice"));
  EXPECT_THAT(Refusal("[1]"), HasSubstr("one JSON object"));
  EXPECT_THAT(Refusal(""), HasSubstr("no valid JSON"));
  EXPECT_THAT(Refusal("{} {}"), HasSubstr("no valid JSON"));
  EXPECT_THAT(Refusal("{\"a\":NaN}"), HasSubstr("no valid JSON"));
  EXPECT_THAT(Refusal(std::string("{}\0", 3)), HasSubstr("no valid JSON (at byte 2)"));
  EXPECT_THAT(Refusal(std::string("{}\0 anything", 12)), HasSubstr("no valid JSON"));
  EXPECT_THAT(Refusal("{\"a\":1e999}"), HasSubstr("no valid JSON"));
  EXPECT_THAT(Refusal("{\"a\":\"\xff\"}"), HasSubstr("no valid JSON"));
}

TEST(ParseStrictObject, BoundsDepthKeysAndBytes) {
  const auto nested = [](int depth) {
    return "{\"a\":" + std::string(static_cast<size_t>(depth - 1), '[') +
           std::string(static_cast<size_t>(depth - 1), ']') + "}";
  };
  EXPECT_EQ(Refusal(nested(kMaxJsonDepth)), "");
  EXPECT_THAT(Refusal(nested(kMaxJsonDepth + 1)), HasSubstr("nests deeper"));
  EXPECT_THAT(Refusal(nested(1'000'000)), HasSubstr("nests deeper"));
  const auto many = [](size_t keys) {
    std::string text = "{";
    for (size_t i = 0; i < keys; ++i) text += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":0";
    return text + "}";
  };
  EXPECT_EQ(Refusal(many(kMaxJsonKeys)), "");
  EXPECT_THAT(Refusal(many(kMaxJsonKeys + 1)), HasSubstr("more than 16384 keys"));
  EXPECT_THAT(Refusal("{}" + std::string(kMaxJsonBytes, ' ')), HasSubstr("at most"));
}

TEST(RenderJson, RefusesInvalidUtf8AndKeepsTheReplacementCharacter) {
  EXPECT_THAT(std::string(RenderJson({{"a", "\xff"}}, "labels").status().message()),
              HasSubstr("labels: a text in it is not valid UTF-8"));
  EXPECT_THAT(std::string(RenderJson({{"\xc3(", 1}}, "labels").status().message()), HasSubstr("UTF-8"));
  EXPECT_EQ(RenderJson({{"a", "\ufffd"}}, "labels").value(), "{\n  \"a\": \"\ufffd\"\n}\n");
}

TEST(Quoted, CutsAndMends) {
  EXPECT_EQ(Quoted("a\nb\xff"), "\"a\ufffdb\ufffd\"");
  const std::string cut = Quoted(std::string(1000, 'x'));
  EXPECT_LT(cut.size(), 130u);
  EXPECT_THAT(cut, ::testing::EndsWith("...\""));
}

TEST(NearestName, FindsTheTypoAndNothingFarOff) {
  const std::set<std::string> known = {"hidden_size", "vocab_size", "layers"};
  EXPECT_EQ(NearestName("hiden_size", known), "hidden_size");
  EXPECT_EQ(NearestName("vocabsize", known), "vocab_size");
  EXPECT_EQ(NearestName("zzzz", known), "");
  EXPECT_EQ(NearestName("", known), "");
  EXPECT_EQ(NearestName("a", {}), "");
}

TEST(ObjectReader, ReportsTheFirstErrorAndUnusedKeys) {
  const nlohmann::json json = {{"text", "x"}, {"count", 7}, {"big", 18446744073709551615u}, {"reel", 0.5}};
  ObjectReader reader(json, "part");
  std::string text;
  int64_t count = 0;
  uint64_t big = 0;
  double real = 0;
  reader.Text("text", text);
  reader.Integer("count", 0, 7, count);
  reader.Unsigned("big", big);
  EXPECT_TRUE(reader.ok());
  EXPECT_EQ(big, 18446744073709551615u);
  EXPECT_THAT(std::string(reader.Finish().message()), HasSubstr("part.\"reel\": is not known here"));
  reader.Real("real", 0, 1, real);
  EXPECT_THAT(std::string(reader.Finish().message()), HasSubstr("part.real: is missing"));
  ObjectReader overflow(json, "");
  overflow.Integer("big", 0, std::numeric_limits<int64_t>::max(), count);
  overflow.Text("count", text);
  EXPECT_THAT(std::string(overflow.Finish().message()), HasSubstr("big: must be an integer from 0"));
  ObjectReader typo(json, "");
  typo.Optional("text"), typo.Optional("count"), typo.Optional("big"), typo.Optional("real");
  EXPECT_THAT(std::string(typo.Finish().message()), HasSubstr("nearest known name is \"real\""));
  EXPECT_FALSE(ObjectReader(json["text"], "part").Finish().ok());
}

}  // namespace
}  // namespace engram
