#include "core/base/process.h"

#include <sched.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "gtest/gtest.h"

namespace engram {
namespace {

class CpuQuotaTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::path(testing::TempDir()) /
            (std::string("quota_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  std::optional<double> Read() const { return CpuQuota((root_ / "proc").string(), (root_ / "cgroup").string()); }

  std::filesystem::path root_;
};

TEST_F(CpuQuotaTest, IsThatOfTheGroup) {
  Write("proc/self/cgroup", "0::/system/engram\n");
  Write("cgroup/system/engram/cpu.max", "150000 100000\n");
  EXPECT_EQ(Read(), 1.5);
}

TEST_F(CpuQuotaTest, IsTheSmallestOfThoseAbove) {
  Write("proc/self/cgroup", "0::/pods/engram/container\n");
  Write("cgroup/pods/engram/container/cpu.max", "max 100000\n");
  Write("cgroup/pods/engram/cpu.max", "300000 100000\n");
  Write("cgroup/pods/cpu.max", "800000 100000\n");
  EXPECT_EQ(Read(), 3.0);
}

TEST_F(CpuQuotaTest, AContainerFindsItAtTheRoot) {
  Write("proc/self/cgroup", "0::/\n");
  Write("cgroup/cpu.max", "50000 100000\n");
  EXPECT_EQ(Read(), 0.5);
}

TEST_F(CpuQuotaTest, OfVersion1) {
  Write("proc/self/cgroup", "11:memory:/engram\n4:cpu,cpuacct:/engram\n3:cpuset:/engram\n");
  Write("cgroup/cpu/engram/cpu.cfs_quota_us", "400000\n");
  Write("cgroup/cpu/engram/cpu.cfs_period_us", "200000\n");
  Write("cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  Write("cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Read(), 2.0);
}

TEST_F(CpuQuotaTest, NoneWhereNoneIsSet) {
  EXPECT_EQ(Read(), std::nullopt);
  Write("proc/self/cgroup", "0::/engram\nnonsense\n");
  Write("cgroup/engram/cpu.max", "max 100000\n");
  EXPECT_EQ(Read(), std::nullopt);
}

using FreeMemoryTest = CpuQuotaTest;

TEST_F(FreeMemoryTest, IsTheLeastOfMachineAndGroups) {
  const auto read = [this] { return FreeMemory((root_ / "proc").string(), (root_ / "cgroup").string()); };
  EXPECT_EQ(read(), std::nullopt);
  Write("proc/meminfo", "MemTotal:  9000 kB\nMemFree:  10 kB\nMemAvailable:    5000 kB\n");
  EXPECT_EQ(read(), 5000 * 1024);
  Write("proc/self/cgroup", "0::/pods/engram\n");
  Write("cgroup/pods/engram/memory.max", "max\n");
  Write("cgroup/pods/engram/memory.current", "1000000\n");
  EXPECT_EQ(read(), 5000 * 1024);
  // A limit above it, of which files that can be dropped take a part.
  Write("cgroup/pods/memory.max", "3000000\n");
  Write("cgroup/pods/memory.current", "2500000\n");
  EXPECT_EQ(read(), 500000);
  Write("cgroup/pods/memory.stat", "anon 1500000\ninactive_file 700000\n");
  EXPECT_EQ(read(), 1200000);
  Write("cgroup/pods/memory.current", "9000000\n");
  EXPECT_EQ(read(), 0);
}

TEST_F(FreeMemoryTest, OfVersion1) {
  Write("proc/self/cgroup", "11:memory:/engram\n4:cpu,cpuacct:/engram\n");
  Write("cgroup/memory/engram/memory.limit_in_bytes", "4000000\n");
  Write("cgroup/memory/engram/memory.usage_in_bytes", "1500000\n");
  Write("cgroup/memory/engram/memory.stat", "inactive_file 1\ntotal_inactive_file 500000\n");
  Write("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  Write("cgroup/memory/memory.usage_in_bytes", "1\n");
  EXPECT_EQ(FreeMemory((root_ / "proc").string(), (root_ / "cgroup").string()), 3000000);
}

TEST(UsableCores, FollowTheAffinity) {
  int alone = 0;
  std::thread pinned([&] {
    cpu_set_t all, one;
    ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
    CPU_ZERO(&one);
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (!CPU_ISSET(core, &all)) continue;
      CPU_SET(core, &one);
      break;
    }
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    alone = UsableCores();
  });
  pinned.join();
  EXPECT_EQ(alone, 1);
  EXPECT_GE(UsableCores(), 1);
}

}  // namespace
}  // namespace engram
