#pragma once

// Whether the device still computes. A CUDA error sticks to its process: once there was one, every later call fails, so
// a server that went on saying it is ready would only draw requests to itself and fail them fast. Thread-safe.

#include <atomic>
#include <functional>
#include <utility>

#include "core/base/status.h"

namespace engram::serve {

class DeviceHealth {
 public:
  // `on_failure` is called once, from the thread that saw the failure; it must return soon.
  explicit DeviceHealth(std::function<void()> on_failure) : on_failure_(std::move(on_failure)) {}

  // How a computation ended. Of errors only nn::StatusOfTorchException's DEVICE_FAILED is the device's: memory that ran
  // out and bad input are not.
  void Note(const absl::Status& status) {
    if (!status.ok() && StatusReason(status) == "DEVICE_FAILED" && !failed_.exchange(true)) on_failure_();
  }
  bool failed() const { return failed_.load(); }

 private:
  const std::function<void()> on_failure_;
  std::atomic<bool> failed_{false};
};

}  // namespace engram::serve
