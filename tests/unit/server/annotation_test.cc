#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "server/inference/annotation_service.h"

namespace engram::server {
namespace {

using engram::v1::AnnotateTextsRequest;
using engram::v1::AnnotateTextsResponse;
using testing::ElementsAre;

constexpr int64_t kMaxTexts = 3;

void AddTerm(AnnotateTextsRequest& request, const std::string& text, const std::vector<std::string>& labels,
             bool case_sensitive = false) {
  engram::v1::Term& term = *request.add_terms();
  term.set_text(text);
  for (const std::string& label : labels) term.add_labels(label);
  term.set_case_sensitive(case_sensitive);
}

class AnnotationTest : public testing::Test {
 protected:
  AnnotateTextsResponse Annotate(const AnnotateTextsRequest& request) {
    AnnotateTextsResponse response;
    const absl::Status status = AnnotateTexts(request, kMaxTexts, matchers, response);
    EXPECT_TRUE(status.ok()) << status;
    return response;
  }
  absl::Status Refused(const AnnotateTextsRequest& request) {
    AnnotateTextsResponse response;
    return AnnotateTexts(request, kMaxTexts, matchers, response);
  }
  MatcherCache matchers{size_t{1} << 20};
};

TEST_F(AnnotationTest, SaysPlacesInBytesAndCodePointsAndWhatIsAmbiguous) {
  AnnotateTextsRequest request;
  AddTerm(request, "python", {"LANGUAGE", "ANIMAL"});
  AddTerm(request, "Python", {"LANGUAGE"}, true);
  AddTerm(request, "Python script", {"FILE"});
  const std::string text = "\u00E4\U0001F600 Python script, python";
  request.add_texts(text);
  const AnnotateTextsResponse response = Annotate(request);
  const auto& result = response.results(0);
  ASSERT_EQ(result.matches_size(), 2);
  EXPECT_EQ(result.matches(0).text(), "Python script");
  EXPECT_EQ(result.matches(0).start(), 3);
  EXPECT_EQ(result.matches(0).start_byte(), 7);
  EXPECT_THAT(result.matches(0).labels(), ElementsAre("FILE"));
  EXPECT_EQ(result.matches(1).text(), "python");
  EXPECT_THAT(result.matches(1).labels(), ElementsAre("ANIMAL", "LANGUAGE"));
  EXPECT_THAT(result.matches(1).terms(), ElementsAre(0));
  ASSERT_EQ(result.overlapped_size(), 1);
  EXPECT_EQ(result.overlapped(0).text(), "Python");
  EXPECT_THAT(result.overlapped(0).terms(), ElementsAre(0, 1));
  for (const auto* matches : {&result.matches(), &result.overlapped()}) {
    for (const auto& match : *matches) {
      EXPECT_EQ(text.substr(static_cast<size_t>(match.start_byte()),
                            static_cast<size_t>(match.end_byte() - match.start_byte())),
                match.text());
    }
  }
}

TEST_F(AnnotationTest, RequestsThatAreTooLargeOrWrongAreRefusedByTheirField) {
  AnnotateTextsRequest request;
  AddTerm(request, "a", {"T"});
  EXPECT_EQ(StatusField(Refused(request)), "texts");
  for (int i = 0; i < kMaxTexts; ++i) request.add_texts("a");
  EXPECT_TRUE(Refused(request).ok());
  request.add_texts("a");
  EXPECT_EQ(StatusField(Refused(request)), "texts");
  request.clear_texts();
  request.add_texts(std::string((16 << 20) + 1, 'x'));
  EXPECT_EQ(StatusField(Refused(request)), "texts");
  request.set_texts(0, "x");
  AddTerm(request, " ", {"T"});
  EXPECT_EQ(StatusField(Refused(request)), "terms[1].text");
  request.clear_terms();
  EXPECT_EQ(StatusField(Refused(request)), "terms");
  for (int i = 0; i <= 200'000; ++i) request.add_terms();
  EXPECT_EQ(StatusField(Refused(request)), "terms");
  request.clear_terms();
  AddTerm(request, "x", {std::string(16 << 20, 'L')});
  EXPECT_EQ(StatusField(Refused(request)), "terms");
}

TEST_F(AnnotationTest, ManyTermsInEachOtherAreNoBomb) {
  AnnotateTextsRequest request;
  std::string nested = "a";
  for (int i = 0; i < 400; ++i, nested += " a") AddTerm(request, nested, {"T"});
  std::string text = "a";
  for (int i = 0; i < 100'000; ++i) text += " a";
  request.add_texts(text);
  EXPECT_EQ(StatusReason(Refused(request)), "TOO_MANY_MATCHES");
}

TEST_F(AnnotationTest, LongLabelsAtManyPlacesAreNoBombEither) {
  AnnotateTextsRequest request;
  std::vector<std::string> labels;
  for (int i = 0; i < 80; ++i) labels.push_back(std::string(120, 'L') + std::to_string(i));
  AddTerm(request, "a", labels);
  std::string text = "a";
  for (int i = 0; i < 40'000; ++i) text += " a";
  request.add_texts(text);
  EXPECT_EQ(StatusReason(Refused(request)), "TOO_MANY_MATCHES");
  request.set_texts(0, text.substr(0, 2001));
  EXPECT_EQ(Annotate(request).results(0).matches_size(), 1001);
}

TEST_F(AnnotationTest, ListsAskedForLastAreKeptWithinABound) {
  const auto list = [](const std::string& word, const std::string& label = "T") {
    AnnotateTextsRequest request;
    AddTerm(request, word, {label});
    return request;
  };
  const auto first = *matchers.Get(list("first").terms());
  EXPECT_EQ(*matchers.Get(list("first").terms()), first) << "the same list, the same matcher";
  EXPECT_NE(*matchers.Get(list("first", "OTHER").terms()), first);
  EXPECT_NE(*matchers.Get(list("second").terms()), first);
  EXPECT_EQ(matchers.size(), 3u);
  MatcherCache small(2 * first->bytes() + first->bytes() / 2);
  const auto a = *small.Get(list("aaaaa").terms());
  const auto b = *small.Get(list("bbbbb").terms());
  EXPECT_EQ(*small.Get(list("aaaaa").terms()), a);
  const auto c = *small.Get(list("ccccc").terms());
  EXPECT_EQ(small.size(), 2u);
  EXPECT_EQ(*small.Get(list("aaaaa").terms()), a) << "used after b";
  EXPECT_NE(*small.Get(list("bbbbb").terms()), b);
  MatcherCache tiny(1);
  EXPECT_TRUE(tiny.Get(list("a").terms()).ok());
  EXPECT_EQ(tiny.size(), 0u);
}

}  // namespace
}  // namespace engram::server
