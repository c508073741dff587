#pragma once

// Training texts that versions keep for replay are personal data: this removes them.

#include "absl/time/time.h"
#include "core/base/status.h"
#include "core/jobs/store.h"
#include "engram/v1/model.pb.h"
#include "server/data_paths.h"
#include "server/library/catalog.h"

namespace engram::server {

// ModelService.ForgetTexts. Each version's directory is replaced in one step by one whose memories lack the texts; the
// old files are gone when it returns OK. `now`: what the age of texts is told by. A crash leaves each version as it was or as it shall be, and the call can be
// repeated. ABORTED if a job of the model began meanwhile, which may have read the texts. Reads and writes files.
// Thread-safe.
absl::Status ForgetTexts(jobs::Store& store, const Catalog& catalog, const DataPaths& paths,
                         const engram::v1::ForgetTextsRequest& request, absl::Time now,
                         engram::v1::ForgetTextsResponse& response);

}  // namespace engram::server
