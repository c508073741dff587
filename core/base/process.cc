#include "core/base/process.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/base/status.h"

namespace engram {
namespace {

constexpr const char* kWaitPolicy = "OMP_WAIT_POLICY";

// A file of the kernel's, without the end of its line; empty if it is not there.
std::string Line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// `quota` of each `period`, in microseconds. "max", -1 and what is no number are no quota.
std::optional<double> Cores(std::string_view quota, std::string_view period) {
  double microseconds = 0, each = 0;
  if (!absl::SimpleAtod(AbslView(quota), &microseconds) || !absl::SimpleAtod(AbslView(period), &each))
    return std::nullopt;
  if (microseconds <= 0 || each <= 0) return std::nullopt;
  return microseconds / each;
}

std::optional<double> Version2(const std::string& group) {
  const std::vector<std::string> parts = absl::StrSplit(Line(group + "/cpu.max"), ' ');
  return parts.size() == 2 ? Cores(parts[0], parts[1]) : std::nullopt;
}

std::optional<double> Version1(const std::string& group) {
  return Cores(Line(group + "/cpu.cfs_quota_us"), Line(group + "/cpu.cfs_period_us"));
}

// The smallest quota of `path` and of the groups above it, up to `root`.
std::optional<double> Smallest(const std::string& root, std::string path,
                               std::optional<double> (*read)(const std::string& group)) {
  std::optional<double> smallest;
  for (path = std::string(absl::StripSuffix(path, "/"));; path.resize(path.rfind('/'))) {
    if (const std::optional<double> found = read(root + path); found && (!smallest || *found < *smallest))
      smallest = found;
    if (path.rfind('/') == std::string::npos) return smallest;
  }
}

// The smallest number of the control groups that the process is in and of those above them: `version2` reads it from a
// group's folder in the one tree, `version1` in the tree of `controller`.
std::optional<double> SmallestOfGroups(const std::string& proc, const std::string& groups, std::string_view controller,
                                       std::optional<double> (*version2)(const std::string&),
                                       std::optional<double> (*version1)(const std::string&)) {
  std::ifstream file(proc + "/self/cgroup");
  std::optional<double> smallest;
  for (std::string line; std::getline(file, line);) {
    // "0::/path" in version 2, "4:cpu,cpuacct:/path" in version 1.
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const std::vector<std::string> controllers = absl::StrSplit(parts[1], ',');
    std::optional<double> found;
    if (parts[1].empty()) {
      found = Smallest(groups, parts[2], version2);
    } else if (std::find(controllers.begin(), controllers.end(), controller) != controllers.end()) {
      found = Smallest(groups + "/" + std::string(controller), parts[2], version1);
    }
    if (found && (!smallest || *found < *smallest)) smallest = found;
  }
  return smallest;
}

// The number behind `name` in a file of lines "name number"; none if it is not there.
std::optional<double> Counter(const std::string& path, std::string_view name) {
  std::ifstream file(path);
  double number = 0;
  for (std::string word; file >> word;) {
    if (word == name && file >> number) return number;
  }
  return std::nullopt;
}

// Bytes left of a limit. What the kernel keeps of files and gives back when it has to ("reclaimable") is free; "max" and a
// limit beyond any memory are none.
std::optional<double> Left(const std::string& limit, const std::string& used, std::optional<double> reclaimable) {
  double most = 0, now = 0;
  if (!absl::SimpleAtod(limit, &most) || !absl::SimpleAtod(used, &now) || most > 1e18) return std::nullopt;
  return most - now + reclaimable.value_or(0);
}

std::optional<double> FreeOfVersion2(const std::string& group) {
  return Left(Line(group + "/memory.max"), Line(group + "/memory.current"),
              Counter(group + "/memory.stat", "inactive_file"));
}

std::optional<double> FreeOfVersion1(const std::string& group) {
  return Left(Line(group + "/memory.limit_in_bytes"), Line(group + "/memory.usage_in_bytes"),
              Counter(group + "/memory.stat", "total_inactive_file"));
}

}  // namespace

std::optional<double> CpuQuota(const std::string& proc, const std::string& groups) {
  return SmallestOfGroups(proc, groups, "cpu", Version2, Version1);
}

std::optional<int64_t> FreeMemory(const std::string& proc, const std::string& groups) {
  std::optional<double> free = SmallestOfGroups(proc, groups, "memory", FreeOfVersion2, FreeOfVersion1);
  if (const std::optional<double> kilobytes = Counter(proc + "/meminfo", "MemAvailable:")) {
    const double bytes = *kilobytes * 1024;
    if (!free || bytes < *free) free = bytes;
  }
  if (!free) return std::nullopt;
  return static_cast<int64_t>(std::max(*free, 0.0));
}

int UsableCores() {
  int cores = static_cast<int>(std::thread::hardware_concurrency());
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) cores = CPU_COUNT(&allowed);
  if (const std::optional<double> quota = CpuQuota(); quota && std::ceil(*quota) < cores)
    cores = static_cast<int>(std::ceil(*quota));
  return std::max(cores, 1);
}

void RestartWithPassiveOpenMp(char** arguments) {
  if (std::getenv(kWaitPolicy) != nullptr) return;
  setenv(kWaitPolicy, "passive", /*overwrite=*/0);
  execv("/proc/self/exe", arguments);
  // The system did not let it: the process goes on as it was started.
}

void GiveWay() {
  constexpr int kNiceness = 10;
  setpriority(PRIO_PROCESS, 0, std::max(getpriority(PRIO_PROCESS, 0), kNiceness));
  std::ofstream("/proc/self/oom_score_adj") << 500;
}

}  // namespace engram
