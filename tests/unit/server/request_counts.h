#pragma once

// engram_requests_total, read back from the exposition format.

#include <map>
#include <regex>
#include <sstream>
#include <string>

namespace engram::server {

// Method -> code -> calls.
inline std::map<std::string, std::map<std::string, int>> RequestCounts(const std::string& exposition) {
  static const std::regex kLine(R"re(engram_requests_total\{code="(\w+)",method="(\w+)"\} (\d+))re");
  std::map<std::string, std::map<std::string, int>> counts;
  std::istringstream lines(exposition);
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_match(line, match, kLine)) counts[match[2]][match[1]] += std::stoi(match[3]);
  }
  return counts;
}

}  // namespace engram::server
