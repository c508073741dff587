#pragma once

#include "google/protobuf/message.h"
#include "nlohmann/json_fwd.hpp"

namespace engram::client {

// A message with the API's field names, fields that are not set included. Unlike protobuf's own JSON 64-bit numbers are
// numbers: JSON has no bound for them, and no program should have to turn "3" into 3. Bytes are base64; times are
// RFC 3339.
nlohmann::ordered_json ToJson(const google::protobuf::Message& message);

}  // namespace engram::client
