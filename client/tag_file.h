#pragma once

#include "client/file_results.h"
#include "client/session.h"

namespace engram::client {

// Tags a file record by record and writes it again with the entities beside it (file_results.h): JSON gets "entities", a
// list of {"type", "text", "start", "end", "score"} with places in code points, or "error"; tables get a column "entities"
// with that list as JSON, and "error". `request`: all but the texts. The exit status as of ClassifyFile.
int TagFile(Session& session, engram::v1::TagEntitiesRequest request, const FileJob& job);

}  // namespace engram::client
