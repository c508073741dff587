#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace engram::corpus {

// What to do with a file that is not UTF-8: a sentence for whoever sent it, which names the encoding that it most likely
// has and how to convert it; or says that its encoding cannot be told, and how to find out; or that single places are
// damaged. `bad`: the first byte that is not UTF-8. Looks at 64 KiB of it.
std::string EncodingAdvice(std::string_view bytes, size_t bad);

}  // namespace engram::corpus
