#pragma once

// The keys of config.json that are read past: they change nothing that an encoder of the BERT family computes.

#include <set>
#include <string>

namespace engram::checkpoint {

const std::set<std::string>& HarmlessConfigKeys();

}  // namespace engram::checkpoint
