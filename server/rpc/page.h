#pragma once

// Pages of lists: bounded in items, and in bytes, since items may be large.

#include <cstddef>
#include <cstdint>

#include "core/base/status.h"

namespace engram::server {

// Beyond these no item is added to a page that has one.
inline constexpr size_t kPageBytes = size_t{2} << 20;

// Adds items of `records` to `out`, a repeated field, as `describe(record, message)` fills them: at most `size` (>= 1), and
// at most kPageBytes of them. How many were added; with fewer than there are records, the last of them is where the next
// page begins.
template <typename Records, typename Repeated, typename Describe>
absl::StatusOr<size_t> FillPage(const Records& records, int64_t size, const Describe& describe, Repeated& out) {
  size_t bytes = 0, count = 0;
  for (const auto& record : records) {
    if (count == static_cast<size_t>(size)) break;
    auto& message = *out.Add();
    ENGRAM_RETURN_IF_ERROR(describe(record, message));
    bytes += message.ByteSizeLong();
    if (count > 0 && bytes > kPageBytes) {
      out.RemoveLast();
      break;
    }
    ++count;
  }
  return count;
}

}  // namespace engram::server
