#pragma once

// Descriptors that are kept back from clients: connections may use up all that a process may open, and the server still
// has to open files of its own.

#include <functional>

namespace engram {

// As many open files as the system lets the process have (RLIMIT_NOFILE), but for some that are kept back. Once, first in
// main.
void RaiseDescriptorLimit();

// Calls `open`, which gives a descriptor (or what is not negative) or -1 and errno. Where the process has used up what it
// may open, calls it once more with those that were kept back. Thread-safe.
int OpenWithReserve(const std::function<int()>& open);

}  // namespace engram
