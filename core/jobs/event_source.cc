#include "core/jobs/event_source.h"

#include <unistd.h>

#include <array>
#include <cerrno>

#include "core/base/log.h"

namespace engram::jobs {
namespace {

// Reads exactly `size` bytes; false at the end of the file or after an error.
bool ReadAll(int descriptor, char* out, size_t size) {
  while (size > 0) {
    const ssize_t got = read(descriptor, out, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    out += got;
    size -= static_cast<size_t>(got);
  }
  return true;
}

}  // namespace

DescriptorEvents::~DescriptorEvents() { close(descriptor_); }

std::optional<std::string> DescriptorEvents::Next() {
  std::array<unsigned char, 4> head{};
  if (!ReadAll(descriptor_, reinterpret_cast<char*>(head.data()), head.size())) return std::nullopt;
  size_t size = 0;
  for (size_t i = head.size(); i-- > 0;) size = size << 8 | head[i];
  if (size > kMaxMessage) {
    LogError("a worker sent a message that is too long; its messages are no longer read");
    return std::nullopt;
  }
  std::string message(size, '\0');
  if (!ReadAll(descriptor_, message.data(), size)) return std::nullopt;
  return message;
}

}  // namespace engram::jobs
