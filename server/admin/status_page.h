#pragma once

// The page that the admin address shows at "/": plain text for people.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace engram::server {

struct ServerState {
  bool serving = false;
  // Unfinished jobs by state; none: they cannot be read.
  std::optional<std::map<std::string, int64_t>> jobs;
  int64_t loaded_versions = 0;
  int64_t waiting_texts = 0;  // for the device
  std::vector<std::string> job_devices = {};
  std::string inference_device = {};
  std::optional<std::pair<int64_t, int64_t>> device_bytes = {};  // all and free ones of a GPU's memory
  std::vector<std::string> left_out_ops = {};                    // kernels that failed their probe
};

std::string StatusPage(const ServerState& state);

}  // namespace engram::server
