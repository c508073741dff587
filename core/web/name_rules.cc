#include "core/web/name_rules.h"

#include <algorithm>
#include <iterator>

namespace engram::web {
namespace {

constexpr std::string_view kUnlikely[] = {
    "-ad-",         "ai2html",   "banner",  "breadcrumbs", "combx",   "comment",    "community",  "cover-wrap",
    "disqus",       "extra",     "footer",  "gdpr",        "header",  "legends",    "menu",       "related",
    "remark",       "replies",   "rss",     "shoutbox",    "sidebar", "skyscraper", "social",     "sponsor",
    "supplemental", "ad-break",  "agegate", "pagination",  "pager",   "popup",      "yom-remote", "newsletter",
    "cookie",       "subscribe", "promo",   "breadcrumb"};
constexpr std::string_view kMayBe[] = {"and", "article", "body", "column", "content", "main", "mathjax", "shadow"};
constexpr std::string_view kPositive[] = {"article",    "body", "content", "entry", "main", "page",
                                          "pagination", "post", "text",    "blog",  "story"};
constexpr std::string_view kNegative[] = {"-ad-",     "hidden",     "banner",  "combx",    "comment", "com-",
                                          "contact",  "footer",     "gdpr",    "masthead", "media",   "meta",
                                          "outbrain", "promo",      "related", "scroll",   "share",   "shoutbox",
                                          "sidebar",  "skyscraper", "sponsor", "shopping", "tags",    "widget"};
constexpr std::string_view kRoles[] = {"menu",  "menubar",     "complementary", "navigation",
                                       "alert", "alertdialog", "dialog"};

template <size_t kSize>
bool HasAny(std::string_view names, const std::string_view (&words)[kSize]) {
  return std::any_of(std::begin(words), std::end(words),
                     [names](std::string_view word) { return names.find(word) != std::string_view::npos; });
}

int WeightOf(std::string_view part) {
  if (part.empty()) return 0;
  constexpr int kWeight = 25;
  return (HasAny(part, kPositive) ? kWeight : 0) - (HasAny(part, kNegative) ? kWeight : 0);
}

}  // namespace

bool IsUnlikely(std::string_view names) { return names.size() > 1 && HasAny(names, kUnlikely); }
bool MayBeContent(std::string_view names) { return HasAny(names, kMayBe); }

int NameWeight(std::string_view names) {
  const size_t id = names.rfind(' ');  // an id has no space
  if (id == std::string_view::npos) return 0;
  return WeightOf(names.substr(0, id)) + WeightOf(names.substr(id + 1));
}

bool IsShareBox(std::string_view names) {
  for (size_t at = names.find("share"); at != std::string_view::npos; at = names.find("share", at + 1)) {
    const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
    const std::string_view after = names.substr(at + 5);
    const bool begins = at == 0 || !is_letter(names[at - 1]);
    if (begins && (after.empty() || !is_letter(after[0]) || after.starts_with("daddy"))) return true;
  }
  return false;
}

bool IsUnlikelyRole(std::string_view role) {
  return std::find(std::begin(kRoles), std::end(kRoles), role) != std::end(kRoles);
}

}  // namespace engram::web
