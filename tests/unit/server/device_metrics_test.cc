#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/admin/metrics.h"

namespace engram::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(DeviceMetrics, ShowMemoryAndWhatWasLeftOut) {
  Metrics metrics;
  EXPECT_THAT(metrics.Serialize(),
              AllOf(Not(HasSubstr("engram_device_memory_bytes{")), Not(HasSubstr("engram_device_ops_left_out{"))))
      << "a server on the CPU has no device";
  metrics.SetDeviceMemory("cuda:0", 8000, 300);
  metrics.SetDeviceMemory("cuda:0", 8000, 200);
  metrics.SetLeftOutOp("mean_pool");
  EXPECT_THAT(metrics.Serialize(),
              AllOf(HasSubstr("engram_device_memory_bytes{device=\"cuda:0\",value=\"total\"} 8000"),
                    HasSubstr("engram_device_memory_bytes{device=\"cuda:0\",value=\"free\"} 200"),
                    HasSubstr("engram_device_ops_left_out{op=\"mean_pool\"} 1")));
}

}  // namespace
}  // namespace engram::server
