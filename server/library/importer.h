#pragma once

// From a directory in Hugging Face paths to version directories.

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/checkpoint/manifest.h"

namespace engram::server {

// Reads and checks the model and tokenizer in `source` completely, and writes them as a version into `target` (an
// existing, empty directory). A head that Engram has a kind for becomes the task `task`. `tag_scheme`: "bio2", "iob1" or
// "lenient" for a tagger whose labels leave that open, empty: what a trial says (tag_trial.h); INVALID_ARGUMENT (field
// "tag_scheme") where the labels say another scheme, or there is no tagger. Weights of another dtype become fp32. A version that Engram exported (it has an engram.json) keeps its tasks, heads, consolidations, memories, metrics
// and options; files in `source` that it does not list are removed.
//
// Returns what the version does not have of what was given, and what was passed over: one sentence each, which names the
// file, tensor or key and says why. INVALID_ARGUMENT for what no encoder can be made of, and for a tensor that holds NaN
// or infinity; DATA_LOSS for an exported version whose files have changed.
absl::StatusOr<std::vector<std::string>> ImportVersion(const std::string& source, const std::string& model,
                                                       int64_t number, const std::string& task,
                                                       const std::string& tag_scheme, const std::string& target);

// OK for the relative path of a file that an import may have: no "..", nothing hidden, at most 4 levels, only A-Z a-z
// 0-9 . _ - in names.
absl::Status CheckRelativePath(const std::string& path);

}  // namespace engram::server
