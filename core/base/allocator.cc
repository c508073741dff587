#include "core/base/allocator.h"

#include <malloc.h>

namespace engram {

void KeepFreedMemory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the most it accepts
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

}  // namespace engram
