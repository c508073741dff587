#include "server/worker/event_pipe.h"

#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>

namespace engram::worker {

void EventPipe::Send(const engram::worker::v1::RunEvent& event) {
  const std::string content = event.SerializeAsString();
  std::string frame;
  for (int shift = 0; shift < 32; shift += 8) frame += static_cast<char>(content.size() >> shift & 0xFF);
  frame += content;
  for (size_t at = 0; at < frame.size();) {
    const ssize_t written = write(descriptor_, frame.data() + at, frame.size() - at);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    at += static_cast<size_t>(written);
  }
}

}  // namespace engram::worker
