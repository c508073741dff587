#pragma once

// Members of config.json, read one by one, where null means absent. Remembers which keys were asked for; what is left
// over at the end is nobody's.

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/base/strict_json.h"

namespace engram::checkpoint {

class ConfigReader {
 public:
  // `json` must outlive the reader.
  explicit ConfigReader(const nlohmann::json& json) : json_(json) {}

  // The member; nullptr if it is absent or null.
  const nlohmann::json* Find(const char* key);
  // Whether the member is there and null.
  bool IsNull(const char* key) const;

  // Each of these: INVALID_ARGUMENT naming the key for a value of another type or out of range; `absent` counts where
  // there is none, and without an `absent` that is an error, too.
  absl::Status Integer(const char* key, int64_t low, int64_t high, std::optional<int64_t> absent, int64_t& out);
  absl::Status Real(const char* key, double low, double high, double absent, double& out);
  absl::Status Boolean(const char* key, bool absent, bool& out);

  // A key that may only be absent or have this value.
  absl::Status Only(const char* key, const nlohmann::json& allowed, std::string_view why);
  // Another name for a number that was read as `key`.
  absl::Status SameAs(const char* alias, const char* key, int64_t expected);
  // A key that changes nothing.
  void PassOver(const char* key) { known_.insert(key); }

  // What is left: keys that nobody reads are warned of. Those that change some model, and those that are a slip of the
  // pen away from one that is read, are refused.
  absl::Status CheckUnknown(std::vector<std::string>& warnings) const;

  // A value as errors show it.
  static std::string Shown(const nlohmann::json& value);

 private:
  const nlohmann::json& json_;
  std::set<std::string> known_;
};

}  // namespace engram::checkpoint
