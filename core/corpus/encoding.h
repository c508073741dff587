#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/corpus/notes.h"

namespace engram::corpus {

// The bytes of a file as UTF-8 without byte-order marks: UTF-8 as it is, UTF-16 and UTF-32 (by their mark, and UTF-16
// also by its zero bytes) converted. A mark at the beginning of a later line, as files that were joined have it, is
// taken away and noted, unless white space follows it: then it is a token of its own. INVALID_ARGUMENT for bytes that
// are none of these, with the line and what they may be, and for content that would be longer than `max_bytes`.
absl::StatusOr<std::string> DecodeText(std::string bytes, std::string_view field, size_t max_bytes,
                                       std::vector<Note>& notes);

}  // namespace engram::corpus
