#include "client/entity_page.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::client {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

engram::v1::Entity At(const std::string& text, const std::string& words, const std::string& type) {
  engram::v1::Entity entity;
  const size_t begin = text.find(words);
  entity.set_type(type);
  entity.set_text(words);
  entity.set_start_byte(static_cast<int64_t>(begin));
  entity.set_end_byte(static_cast<int64_t>(begin + words.size()));
  entity.set_score(0.5);
  return entity;
}

TEST(EntityPage, NothingOfATextIsMarkup) {
  const std::string text = "<script>alert('x')</script> & \"Ada\" in \xC3\x9C";
  engram::v1::TagEntitiesResult result;
  *result.add_entities() = At(text, "<script>", "a\"><b>");
  *result.add_entities() = At(text, "\"Ada\"", "person");
  *result.add_entities() = At(text, "\xC3\x9C", "place");
  const std::string page = EntityPage("<title> & 'more'", {text}, {result});
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("<b>")));
  EXPECT_THAT(page,
              HasSubstr(">&lt;script&gt;<small>a&quot;&gt;&lt;b&gt;</small></mark>alert(&#39;x&#39;)&lt;/script&gt; "
                        "&amp; <mark"));
  EXPECT_THAT(page, HasSubstr("<title>&lt;title&gt; &amp; &#39;more&#39;</title>"));
  EXPECT_THAT(
      page,
      HasSubstr("title=\"person 50.0%, code points 0 to 0\">&quot;Ada&quot;<small>person</small></mark> in <mark"));
  EXPECT_THAT(page, HasSubstr(">\xC3\x9C<small>place</small></mark></section>"));
}

TEST(EntityPage, EachTextHasItsOwnSectionAndEachTypeItsColour) {
  engram::v1::TagEntitiesResult one, failed;
  *one.add_entities() = At("Ada, Bob", "Ada", "person");
  *one.add_entities() = At("Ada, Bob", "Bob", "person");
  failed.mutable_error()->set_message("is empty & bad");
  const std::string page = EntityPage("t", {"Ada, Bob", "nothing here", ""}, {one, {}, failed});
  EXPECT_THAT(page, HasSubstr(">person</mark></td><td>2</td>"));
  EXPECT_THAT(page, HasSubstr("<section dir=\"auto\">nothing here</section>"));
  EXPECT_THAT(page, HasSubstr("is empty &amp; bad</span></section>"));
  EXPECT_THAT(EntityPage("t", {"a"}, {{}}), HasSubstr("no entities"));
}

}  // namespace
}  // namespace engram::client
