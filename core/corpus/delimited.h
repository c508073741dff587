#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"

namespace engram::corpus {

struct DelimitedRow {
  int64_t line = 0;  // where it begins, from 1
  std::vector<std::string> cells;
};

// RFC 4180 with any separator: cells may be quoted, a quoted cell may hold separators, line ends and doubled quotes.
// Empty lines are skipped. INVALID_ARGUMENT (field `field`, with the line) for a quote that is never closed or that
// stands inside of a cell.
absl::StatusOr<std::vector<DelimitedRow>> ParseDelimited(std::string_view text, char separator, std::string_view field);

}  // namespace engram::corpus
