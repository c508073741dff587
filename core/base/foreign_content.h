#pragma once

// What lies under a name that promises something else: a download that is a web page, a checkout that is a pointer, a
// table in a binary format. So that an error can say what the file is, and not only what it is not.

#include <optional>
#include <string_view>

namespace engram {

// By the first bytes of a file: "is a Git LFS pointer, not the file itself; ..." with what to do about it, ready to
// follow the file's name in an error. nullopt if the bytes are none of the kinds that are known. What it names is
// neither JSON nor safetensors nor lines of text, so it may be asked before a file is read or after that has failed.
std::optional<std::string_view> ForeignContent(std::string_view bytes);

}  // namespace engram
