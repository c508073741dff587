#include "client/entity_page.h"

#include <cstdio>
#include <map>
#include <string_view>
#include <utility>

#include "client/output.h"

namespace engram::client {
namespace {

using engram::v1::Entity;
using engram::v1::TagEntitiesResult;

constexpr const char* kStyle =
    "body{font:16px/1.7 sans-serif;max-width:56em;margin:2em auto;padding:0 1em;color:#111;background:#fff}"
    "section{white-space:pre-wrap;overflow-wrap:anywhere;margin:0 0 1.5em;padding:0 0 1em;border-bottom:1px solid #ddd}"
    "mark{padding:.1em .3em;border-radius:.3em}mark small{font-size:.7em;font-weight:bold;margin-inline-start:.4em}"
    ".none{color:#666;font-style:italic}table{border-collapse:collapse}td{padding:0 1em 0 0}";

// Neighbouring types get colours that are far apart: each takes the golden angle from the one before.
std::string Colour(size_t type) { return "hsl(" + std::to_string(type * 137 % 360) + ",75%,84%)"; }

std::string Percent(double share) {
  char text[16];
  std::snprintf(text, sizeof text, "%.1f%%", 100 * share);
  return text;
}

// The number of each type, in the order in which they occur, and how many entities it has.
struct Types {
  std::map<std::string, size_t> numbers;
  std::vector<std::pair<std::string, size_t>> counts;

  size_t Number(const std::string& type) {
    const auto [at, added] = numbers.emplace(type, counts.size());
    if (added) counts.emplace_back(type, 0);
    return at->second;
  }
};

std::string Mark(const Entity& entity, std::string_view text, size_t type) {
  const std::string title = entity.type() + " " + Percent(entity.score()) + ", code points " +
                            std::to_string(entity.start()) + " to " + std::to_string(entity.end());
  return "<mark style=\"background:" + Colour(type) + "\" title=\"" + EscapedMarkup(title) + "\">" +
         EscapedMarkup(text) + "<small>" + EscapedMarkup(entity.type()) + "</small></mark>";
}

// Entities are in the order of the text and do not overlap.
std::string Section(std::string_view text, const TagEntitiesResult& result, Types& types) {
  std::string out = "<section dir=\"auto\">";
  size_t at = 0;
  for (const Entity& entity : result.entities()) {
    const auto begin = static_cast<size_t>(entity.start_byte()), end = static_cast<size_t>(entity.end_byte());
    if (begin < at || end < begin || end > text.size()) continue;  // no answer of ours to this text
    const size_t type = types.Number(entity.type());
    ++types.counts[type].second;
    out += EscapedMarkup(text.substr(at, begin - at)) + Mark(entity, text.substr(begin, end - begin), type);
    at = end;
  }
  out += EscapedMarkup(text.substr(at));
  if (result.has_error()) out += "\n<span class=\"none\">" + EscapedMarkup(result.error().message()) + "</span>";
  return out + "</section>\n";
}

}  // namespace

std::string EntityPage(const std::string& title, const std::vector<std::string>& texts,
                       const std::vector<TagEntitiesResult>& results) {
  Types types;
  std::string body;
  for (size_t i = 0; i < texts.size() && i < results.size(); ++i) body += Section(texts[i], results[i], types);
  std::string legend;
  for (size_t i = 0; i < types.counts.size(); ++i) {
    legend += "<tr><td><mark style=\"background:" + Colour(i) + "\">" + EscapedMarkup(types.counts[i].first) +
              "</mark></td><td>" + std::to_string(types.counts[i].second) + "</td></tr>\n";
  }
  const std::string name = EscapedMarkup(title);
  return "<!DOCTYPE html>\n<html>\n<head>\n<meta charset=\"utf-8\">\n<title>" + name + "</title>\n<style>" + kStyle +
         "</style>\n</head>\n<body>\n<h1>" + name + "</h1>\n" +
         (legend.empty() ? "<p class=\"none\">no entities</p>\n" : "<table>\n" + legend + "</table>\n") + body +
         "</body>\n</html>\n";
}

}  // namespace engram::client
