#pragma once

// Extended grapheme clusters (Unicode standard annex 29), as the reference's tables have them as far as a cluster of
// fewer than 6 bytes is concerned: those alone change what a Precompiled normalizer does.

#include <cstddef>
#include <string_view>

namespace engram::tokenize {

// The end of the cluster that begins at `at` < text.size(); `text` is valid UTF-8.
size_t GraphemeEnd(std::string_view text, size_t at);

}  // namespace engram::tokenize
