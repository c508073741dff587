#include "core/base/descriptors.h"

#include <sys/resource.h>

#include <cerrno>
#include <mutex>

namespace engram {
namespace {

constexpr rlim_t kKeptBack = 32;
// One opens with the reserve at a time: a limit that is raised twice would be lowered too soon.
std::mutex reserve_mutex;

// The soft limit, below the hard one by `kept`.
bool SetDescriptorLimit(rlim_t kept) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max == RLIM_INFINITY || limit.rlim_max <= 4 * kKeptBack)
    return false;
  limit.rlim_cur = limit.rlim_max - kept;
  return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

}  // namespace

void RaiseDescriptorLimit() { SetDescriptorLimit(kKeptBack); }

int OpenWithReserve(const std::function<int()>& open) {
  const int first = open();
  if (first >= 0 || errno != EMFILE) return first;
  const std::lock_guard<std::mutex> lock(reserve_mutex);
  if (!SetDescriptorLimit(0)) {
    errno = EMFILE;
    return -1;
  }
  const int second = open();
  const int error = errno;
  SetDescriptorLimit(kKeptBack);
  errno = error;
  return second;
}

}  // namespace engram
