#pragma once

// One reader a format. `text` is valid UTF-8; errors are INVALID_ARGUMENT that list lines (row_errors.h). See
// dataset.h.

#include <string_view>

#include "core/base/status.h"
#include "core/corpus/dataset.h"

namespace engram::corpus {

absl::StatusOr<Dataset> ReadJsonLines(std::string_view text, std::string_view field);
absl::StatusOr<Dataset> ReadDelimited(std::string_view text, char separator, std::string_view field);
absl::StatusOr<Dataset> ReadConll(std::string_view text, std::string_view field);
absl::StatusOr<Dataset> ReadPlain(std::string_view text, std::string_view field);

}  // namespace engram::corpus
