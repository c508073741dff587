#pragma once

// The page that the admin address shows at "/": plain text for people.

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace engram::server {

struct ServerState {
  bool serving = false;
  // Unfinished jobs by state; none: they cannot be read.
  std::optional<std::map<std::string, int64_t>> jobs;
  int64_t loaded_versions = 0;
  int64_t waiting_texts = 0;  // for the device
};

std::string StatusPage(const ServerState& state);

}  // namespace engram::server
