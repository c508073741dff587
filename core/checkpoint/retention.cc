#include "core/checkpoint/retention.h"

namespace engram::checkpoint {

std::set<std::string> KeptTooLong(const VersionManifest& manifest, const ManifestMemory& memory, int64_t days,
                                  absl::Time now) {
  std::set<std::string> tasks;
  for (const ManifestTask& task : manifest.tasks) {
    const auto since = memory.kept_since.find(task.name);
    absl::Time time;
    const bool known =
        since != memory.kept_since.end() && absl::ParseTime(absl::RFC3339_full, since->second, &time, /*err=*/nullptr);
    if (!known || days == 0 || now - time > absl::Hours(24) * days) tasks.insert(task.name);
  }
  return tasks;
}

std::map<std::string, std::string> KeptSince(const ManifestMemory& before, const std::map<std::string, uint64_t>& tasks,
                                             const std::string& task, bool grows, absl::Time now) {
  std::map<std::string, std::string> since;
  for (const auto& [name, unused] : tasks) {
    if (name == task && !(grows && before.tasks.contains(name))) {
      since[name] = absl::FormatTime("%Y-%m-%d%ET%H:%M:%SZ", now, absl::UTCTimeZone());
    } else if (const auto known = before.kept_since.find(name); known != before.kept_since.end()) {
      since[name] = known->second;
    }
  }
  return since;
}

}  // namespace engram::checkpoint
