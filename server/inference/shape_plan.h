#pragma once

// The plan of an encode for a model of which there is a config.json alone: how long, and in how much memory, one that is
// too large to be brought here would read a text.

#include "absl/status/status.h"
#include "engram/v1/inference.pb.h"

namespace engram::server {

// Fills `plan`, the mode and what is done about positions. The request has a config_json. INVALID_ARGUMENT naming the field,
// of config.json its key.
absl::Status PlanShape(const engram::v1::LongContextEncodeRequest& request,
                       engram::v1::LongContextEncodeResponse& response);

}  // namespace engram::server
