#include "core/serve/device_health.h"

#include <stdexcept>

#include "core/nn/device.h"
#include "gtest/gtest.h"

namespace engram::serve {
namespace {

absl::Status Thrown(const char* what) {
  return nn::GuardTorch([&]() -> absl::Status { throw std::runtime_error(what); });
}

TEST(DeviceHealth, FailsOnceAndForEverWithTheDeviceAndWithNothingElse) {
  int failures = 0;
  DeviceHealth health([&] { ++failures; });
  for (const absl::Status& status : {absl::OkStatus(), InvalidField("texts", "is empty"), Thrown("index out of range"),
                                     Thrown("DefaultCPUAllocator: not enough memory")}) {
    health.Note(status);
    EXPECT_FALSE(health.failed()) << status;
  }
  health.Note(Thrown("CUDA error: device-side assert triggered"));
  health.Note(Thrown("CUDA error: an illegal memory access was encountered"));
  health.Note(absl::OkStatus());
  EXPECT_TRUE(health.failed());
  EXPECT_EQ(failures, 1);
}

}  // namespace
}  // namespace engram::serve
