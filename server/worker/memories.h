#pragma once

// What a training reads and writes of a version's memories.

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "core/checkpoint/manifest.h"
#include "core/tokenize/tokenizer.h"
#include "core/train/version_memory.h"
#include "server/worker/run.h"

namespace engram::worker {

// The memory of `owner` in the base version of the run, without texts that at `now` have been held for longer than the
// server keeps any; a warning says of which tasks those are.
train::MemorySource OpenMemory(RunContext& context, const std::string& owner, const checkpoint::VersionManifest& base,
                               absl::Time now);

// Writes the memory of `owner` into the run's output and enters it in place of the one that it had. `task`: the one that
// was trained, which `grows` if it got further labels.
absl::Status WriteMemory(const RunContext& context, const std::string& owner, const train::VersionMemory& memory,
                         const std::string& task, bool grows, absl::Time begun, checkpoint::VersionManifest& manifest);

// The tokens that frame texts, which a router does not count.
std::vector<int32_t> FramingTokens(const tokenize::Tokenizer& tokenizer);

}  // namespace engram::worker
