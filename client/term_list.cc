#include "client/term_list.h"

#include <set>

#include "client/output.h"
#include "nlohmann/json.hpp"

namespace engram::client {
namespace {

using engram::v1::Term;

constexpr size_t kMaxTermBytes = 1000;  // the server's

std::string_view Strip(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(separator, at), text.size());
    parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

// Reads a line into `term`; gives what is wrong with it, empty if nothing.
std::string ReadColumns(std::string_view line, Term& term) {
  const std::vector<std::string_view> cells = Split(line, '\t');
  if (cells.size() > 3) return "has " + std::to_string(cells.size()) + " columns; at most term, labels and \"case\"";
  term.set_text(std::string(Strip(cells[0])));
  if (cells.size() > 1) {
    for (const std::string_view label : Split(cells[1], ',')) {
      if (!Strip(label).empty()) term.add_labels(std::string(Strip(label)));
    }
  }
  const std::string_view rule = cells.size() > 2 ? Strip(cells[2]) : std::string_view();
  if (!rule.empty() && rule != "case") return "has a third column that is not \"case\"";
  if (rule == "case") term.set_case_sensitive(true);
  return "";
}

std::string ReadObject(std::string_view line, Term& term) {
  const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return "is no JSON object";
  for (const auto& [key, value] : json.items()) {
    if ((key == "text" || key == "term") && value.is_string()) {
      term.set_text(std::string(Strip(value.get_ref<const std::string&>())));
    } else if (key == "label" && value.is_string()) {
      term.add_labels(value.get<std::string>());
    } else if (key == "labels" && value.is_array()) {
      for (const auto& label : value) {
        if (!label.is_string()) return "has a label that is no text";
        term.add_labels(label.get<std::string>());
      }
    } else if (key == "case_sensitive" && value.is_boolean()) {
      term.set_case_sensitive(value.get<bool>());
    } else {
      return "has the key \"" + key.substr(0, 50) +
             "\", which is unknown or of another type; known are text, label, "
             "labels and case_sensitive";
    }
  }
  return "";
}

std::string Check(const Term& term) {
  if (term.text().empty()) return "has no term";
  if (term.text().size() > kMaxTermBytes) {
    return "has a term of " + std::to_string(term.text().size()) + " bytes; at most " + std::to_string(kMaxTermBytes) +
           " are taken";
  }
  return term.labels().empty() ? "has no label; write one behind a tab, or give --label for all" : "";
}

}  // namespace

TermList ParseTermList(std::string_view bytes, bool json_lines, const std::string& label, bool case_sensitive) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  TermList list;
  if (bytes.starts_with("\xFF\xFE") || bytes.starts_with("\xFE\xFF")) {
    list.error = "the list is UTF-16; convert it to UTF-8 first (iconv -f UTF-16 -t UTF-8)";
    return list;
  }
  if (bytes.starts_with(kMark)) bytes.remove_prefix(kMark.size());
  std::set<std::string> seen;
  int64_t number = 0;
  while (!bytes.empty()) {
    const size_t end = std::min(bytes.find_first_of("\r\n"), bytes.size());
    const std::string_view line = bytes.substr(0, end);
    const bool both = end + 1 < bytes.size() && bytes[end] == '\r' && bytes[end + 1] == '\n';
    bytes.remove_prefix(std::min(bytes.size(), end + (both ? 2 : 1)));
    ++number;
    if (Strip(line).empty()) continue;
    Term term;
    term.set_case_sensitive(case_sensitive);
    std::string problem = IsUtf8(std::string(line)) ? "" : "is not UTF-8; convert the list first";
    if (problem.empty()) problem = json_lines ? ReadObject(line, term) : ReadColumns(line, term);
    if (problem.empty() && term.labels().empty() && !label.empty()) term.add_labels(label);
    if (problem.empty()) problem = Check(term);
    if (!problem.empty()) {
      list.error = "line " + std::to_string(number) + " of the list " + problem;
      return list;
    }
    if (seen.insert(term.SerializeAsString()).second) {
      list.terms.push_back(std::move(term));
    } else {
      ++list.repeated;
    }
  }
  if (list.terms.empty()) list.error = "the list holds no term";
  return list;
}

}  // namespace engram::client
