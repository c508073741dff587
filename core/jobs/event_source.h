#pragma once

// The messages of a run, wherever they come from.

#include <optional>
#include <string>

namespace engram::jobs {

// Not thread-safe.
class EventSource {
 public:
  virtual ~EventSource() = default;
  // Waits for the next message; nullopt once there will be no more.
  virtual std::optional<std::string> Next() = 0;
};

// Messages from a descriptor (a pipe, a socket, a file), each 4 bytes little-endian length and then its content. They
// end with the descriptor, with a frame that is cut short, and with one longer than kMaxMessage, which is logged.
class DescriptorEvents final : public EventSource {
 public:
  static constexpr size_t kMaxMessage = size_t{1} << 24;

  // Closes `descriptor` in the end.
  explicit DescriptorEvents(int descriptor) : descriptor_(descriptor) {}
  ~DescriptorEvents() override;
  DescriptorEvents(const DescriptorEvents&) = delete;
  DescriptorEvents& operator=(const DescriptorEvents&) = delete;
  std::optional<std::string> Next() override;

 private:
  const int descriptor_;
};

}  // namespace engram::jobs
