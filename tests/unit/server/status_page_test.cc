#include "server/admin/status_page.h"

#include "gtest/gtest.h"

namespace engram::server {
namespace {

TEST(StatusPage, SaysWhatTheServerDoes) {
  ServerState state{true, std::map<std::string, int64_t>{{"queued", 2}, {"running", 1}}, 3, 40};
  state.job_devices = {"cuda:0", "cuda:1"};
  state.inference_device = "cuda:0";
  state.device_bytes = {int64_t{80} << 30, int64_t{3} << 30};
  state.left_out_ops = {"attention", "mean_pool"};
  EXPECT_EQ(StatusPage(state),
            "Engram: serving\n\njobs\n  queued  2\n  running  1\n\ninference\n  versions in memory  3\n"
            "  texts waiting  40\n\ndevices\n  jobs  cuda:0 cuda:1\n  inference  cuda:0, 3072 of 81920 MiB free\n"
            "  kernels left out  attention mean_pool\n\n/metrics  /healthz  /readyz\n");
}

TEST(StatusPage, JobsThatCannotBeReadAreNotCountedAsNone) {
  ServerState state;
  state.job_devices = {"cpu"};
  state.inference_device = "cpu";
  EXPECT_EQ(StatusPage(state),
            "Engram: not serving\n\njobs\n  cannot be read\n\ninference\n  versions in memory  0\n"
            "  texts waiting  0\n\ndevices\n  jobs  cpu\n  inference  cpu\n\n/metrics  /healthz  /readyz\n");
}

}  // namespace
}  // namespace engram::server
