#pragma once

#include "client/file_results.h"
#include "client/session.h"

namespace engram::client {

// Classifies a file record by record and writes it again with the results beside it (file_results.h). In tables each task
// adds its most probable label, its probability, and there is a last column "error"; JSON Lines get "tasks" with all scores
// that `request` asks for, or "error". `request`: all but the texts. The exit status: kFailed if a record other than an
// empty one has no result.
int ClassifyFile(Session& session, engram::v1::ClassifyRequest request, const FileJob& job);

}  // namespace engram::client
