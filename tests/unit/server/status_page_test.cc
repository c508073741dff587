#include "server/admin/status_page.h"

#include "gtest/gtest.h"

namespace engram::server {
namespace {

TEST(StatusPage, SaysWhatTheServerDoes) {
  EXPECT_EQ(StatusPage({true, std::map<std::string, int64_t>{{"queued", 2}, {"running", 1}}, 3, 40}),
            "Engram: serving\n\njobs\n  queued  2\n  running  1\n\ninference\n  versions in memory  3\n"
            "  texts waiting  40\n\n/metrics  /healthz  /readyz\n");
}

TEST(StatusPage, JobsThatCannotBeReadAreNotCountedAsNone) {
  EXPECT_EQ(StatusPage({false, std::nullopt, 0, 0}),
            "Engram: not serving\n\njobs\n  cannot be read\n\ninference\n  versions in memory  0\n"
            "  texts waiting  0\n\n/metrics  /healthz  /readyz\n");
}

}  // namespace
}  // namespace engram::server
