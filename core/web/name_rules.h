#pragma once

// What classes and ids say of an element's part in a page. The words are those that Readability (Mozilla) found to tell
// content from what stands around it. `names`: lower case (Node::names). Pure functions.

#include <string_view>

namespace engram::web {

// Probably no content: banners, comments, menus, footers, ...
bool IsUnlikely(std::string_view names);
// Words that let an unlikely one stay ("article-header").
bool MayBeContent(std::string_view names);
// 25 for words of content, minus 25 for words of what stands around it; both add up. Class and id count apart.
int NameWeight(std::string_view names);
// Buttons to share a page.
bool IsShareBox(std::string_view names);
// role="navigation" and the like.
bool IsUnlikelyRole(std::string_view role);

}  // namespace engram::web
