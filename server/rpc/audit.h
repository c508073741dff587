#pragma once

#include <string>

#include "google/protobuf/message.h"

namespace engram::server {

// What a request is about, for the audit log: its fields that hold one string, number or truth value, and those of its
// messages, as "name=models/news label=stable". Texts are cut at 64 bytes, values that repeat, maps and bytes are left out,
// and the whole is at most 1 KiB of printable ASCII (other bytes as \xNN).
std::string Identifiers(const google::protobuf::Message& request);

}  // namespace engram::server
