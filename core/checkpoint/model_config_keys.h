#pragma once

// The keys of config.json that Engram does not read.

#include <set>
#include <string>
#include <string_view>

namespace engram::checkpoint {

// Those that are read past without a word: they change nothing that an encoder of the BERT family computes.
const std::set<std::string>& HarmlessConfigKeys();

// Whether some model of transformers reads a key of that name (scripts/generate_config_keys.py).
bool IsKeyOfTransformers(std::string_view key);

}  // namespace engram::checkpoint
