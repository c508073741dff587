#pragma once

// What this process may use of the machine, and how it behaves towards others on it.

#include <cstdint>
#include <optional>
#include <string>

namespace engram {

// Cores that this process may compute on at once: those of its affinity, or as many as its CPU quota pays for (rounded
// up) if those are fewer. At least 1.
int UsableCores();

// The CPU quota in cores of the control group that the process is in or of one above it, the smallest; none: no quota.
// Reads `proc`/self/cgroup and the trees under `groups` of version 2 (cpu.max) and of version 1 (cpu/cpu.cfs_quota_us,
// cpu/cpu.cfs_period_us). A container that sees only its own part of the tree finds its quota at the tree's root.
std::optional<double> CpuQuota(const std::string& proc = "/proc", const std::string& groups = "/sys/fs/cgroup");

// Bytes that the process can still take: what the machine has available, or what the memory limits of its control groups
// leave if that is less. None: the system does not say. The files are those of CpuQuota (memory.max, memory.current and
// memory.stat of version 2, memory.limit_in_bytes and so on of version 1) and `proc`/meminfo.
std::optional<int64_t> FreeMemory(const std::string& proc = "/proc", const std::string& groups = "/sys/fs/cgroup");

// OpenMP's threads spin between two loops unless OMP_WAIT_POLICY says otherwise, which costs several times over what is
// won as soon as anybody else computes on the machine. Its library reads the variable before main begins, so the process
// sets it, where nobody else has, and starts itself again; processes started by it inherit it. Returns if there is
// nothing to do. Call it first in main: everything but environment and arguments is lost.
void RestartWithPassiveOpenMp(char** arguments);

// For a process whose work can be done again: others on the machine come first (niceness 10), and when memory runs out
// the kernel takes this one. What the system refuses is left as it is.
void GiveWay();

}  // namespace engram
