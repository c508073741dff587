#pragma once

// A job as the API shows it, from the store's record of it.

#include <string>

#include "core/jobs/store.h"
#include "engram/v1/job.pb.h"

namespace engram::server {

// Everything but what only a running server knows: progress and place in the queue. A description or an outcome that
// cannot be read is left out.
engram::v1::Job DescribeJob(const jobs::JobRecord& record);

// "queued", "running", ...
std::string StateName(jobs::JobState state);
// "train", ...; "unknown" for a specification that no kind of job here takes. For metrics and the log.
std::string KindName(const jobs::JobRecord& record);

// The states of the API have the numbers of the store's. `state` is valid and not UNSPECIFIED.
jobs::JobState StoredState(engram::v1::JobState state);

}  // namespace engram::server
