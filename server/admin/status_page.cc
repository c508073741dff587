#include "server/admin/status_page.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace engram::server {

std::string StatusPage(const ServerState& state) {
  std::string page = absl::StrCat("Engram: ", state.serving ? "serving" : "not serving", "\n\njobs\n");
  if (state.jobs) {
    for (const auto& [name, count] : *state.jobs) absl::StrAppend(&page, "  ", name, "  ", count, "\n");
  } else {
    absl::StrAppend(&page, "  cannot be read\n");
  }
  absl::StrAppend(&page, "\ninference\n  versions in memory  ", state.loaded_versions, "\n  texts waiting  ",
                  state.waiting_texts, "\n\ndevices\n  jobs  ", absl::StrJoin(state.job_devices, " "),
                  "\n  inference  ", state.inference_device);
  if (state.device_bytes) {
    const auto [total, left] = *state.device_bytes;
    absl::StrAppend(&page, ", ", left >> 20, " of ", total >> 20, " MiB free");
  }
  if (!state.left_out_ops.empty())
    absl::StrAppend(&page, "\n  kernels left out  ", absl::StrJoin(state.left_out_ops, " "));
  absl::StrAppend(&page, "\n\n/metrics  /healthz  /readyz\n");
  return page;
}

}  // namespace engram::server
