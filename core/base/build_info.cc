#include "core/base/build_info.h"

namespace engram {

std::string_view EngramVersion() { return ENGRAM_VERSION; }  // set by CMakeLists.txt for this file alone

}  // namespace engram
