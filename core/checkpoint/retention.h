#pragma once

// How long a version may replay training texts that it keeps: they are personal data.

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "absl/time/time.h"
#include "core/checkpoint/manifest.h"

namespace engram::checkpoint {

// Of the manifest's tasks, those whose texts have been in the memory for more than `days` days at `now`, or for an unknown
// time; those that have none there do not matter. days >= 0; 0: all.
std::set<std::string> KeptTooLong(const VersionManifest& manifest, const ManifestMemory& memory, int64_t days,
                                  absl::Time now);

// The memory's times after a training that began at `now`: `task` has its texts since then, unless it `grows` (texts that
// it had stay beside the new ones); all others, and one that grows, as they were. Tasks without texts have none.
std::map<std::string, std::string> KeptSince(const ManifestMemory& before, const std::map<std::string, uint64_t>& tasks,
                                             const std::string& task, bool grows, absl::Time now);

}  // namespace engram::checkpoint
