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

}  // namespace

std::optional<double> CpuQuota(const std::string& proc, const std::string& groups) {
  std::ifstream file(proc + "/self/cgroup");
  std::optional<double> smallest;
  for (std::string line; std::getline(file, line);) {
    // "0::/path" in version 2, "4:cpu,cpuacct:/path" in version 1.
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const std::vector<std::string> controllers = absl::StrSplit(parts[1], ',');
    std::optional<double> found;
    if (parts[1].empty()) {
      found = Smallest(groups, parts[2], Version2);
    } else if (std::find(controllers.begin(), controllers.end(), "cpu") != controllers.end()) {
      found = Smallest(groups + "/cpu", parts[2], Version1);
    }
    if (found && (!smallest || *found < *smallest)) smallest = found;
  }
  return smallest;
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
