#pragma once

// From a directory in Hugging Face paths to version directories.

#include <string>

#include "core/base/status.h"
#include "core/checkpoint/manifest.h"

namespace engram::server {

// Reads and checks the model and tokenizer in `source` completely, and writes them as a version into `target` (an
// existing, empty directory). A classification head in the file becomes the task `task`. Weights of another dtype
// become fp32.
absl::Status ImportVersion(const std::string& source, const std::string& model, int64_t number, const std::string& task,
                           const std::string& target);

// OK for the relative path of a file that an import may have: no "..", nothing hidden, at most 4 levels, only A-Z a-z
// 0-9 . _ - in names.
absl::Status CheckRelativePath(const std::string& path);

}  // namespace engram::server
