#pragma once

#include <string_view>

namespace engram {

// The version of Engram that this program was built from: "0.1.0".
std::string_view EngramVersion();

}  // namespace engram
