#include "server/admin/status_page.h"

#include "absl/strings/str_cat.h"

namespace engram::server {

std::string StatusPage(const ServerState& state) {
  std::string page = absl::StrCat("Engram: ", state.serving ? "serving" : "not serving", "\n\njobs\n");
  if (state.jobs) {
    for (const auto& [name, count] : *state.jobs) absl::StrAppend(&page, "  ", name, "  ", count, "\n");
  } else {
    absl::StrAppend(&page, "  cannot be read\n");
  }
  absl::StrAppend(&page, "\ninference\n  versions in memory  ", state.loaded_versions, "\n  texts waiting  ",
                  state.waiting_texts, "\n\n/metrics  /healthz  /readyz\n");
  return page;
}

}  // namespace engram::server
