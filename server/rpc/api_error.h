#pragma once

// A status as data of the API.

#include "core/base/status.h"
#include "engram/v1/job.pb.h"

namespace engram::server {

// Code, reason, message and field: for one text of many, and for jobs.
engram::v1::Error ToError(const absl::Status& status);
// The status that ToError was given; INTERNAL where the code is none of an error.
absl::Status FromError(const engram::v1::Error& error);

}  // namespace engram::server
